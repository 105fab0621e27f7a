// xterm.js writes its sizes and colours into <style> elements and style attributes, which our content security policy refuses
// (xtermjs/xterm.js#4445). Rules that a script puts into a constructed style sheet are the script's own and are not refused,
// so elements named "style" made after this call keep their text in such a sheet, and style attributes go through the CSSOM.

export function adopt(document) {
  const create = document.createElement.bind(document);
  document.createElement = (name, options) => {
    if (String(name).toLowerCase() !== "style") return create(name, options);
    // Something that is no <style>: even an empty one counts as inline style when it is put into the page.
    const element = create("span");
    element.hidden = true;
    const sheet = new CSSStyleSheet();
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    let text = "";
    const property = { get: () => text, set: (value) => { text = value ?? ""; sheet.replaceSync(text); } };
    Object.defineProperty(element, "textContent", property);
    Object.defineProperty(element, "innerText", property);
    Object.defineProperty(element, "sheet", { get: () => sheet });
    const remove = element.remove.bind(element);
    element.remove = () => { document.adoptedStyleSheets = document.adoptedStyleSheets.filter((s) => s !== sheet); remove(); };
    return element;
  };
  const set = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function (name, value) {
    if (name === "style" && this.style) this.style.cssText = value; else set.call(this, name, value);
  };
}
