//! Text in, tree out.

use super::*;

fn file(text: &str) -> Dockerfile {
    Dockerfile::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

fn only(text: &str) -> Instruction {
    let mut file = file(&format!("FROM scratch\n{text}"));
    assert_eq!(file.stages[0].instructions.len(), 1, "{text}");
    file.stages[0].instructions.remove(0).instruction
}

fn wrong(text: &str) -> String {
    Dockerfile::parse(text.as_bytes()).expect_err(text).to_string()
}

fn run_text(text: &str) -> String {
    match only(text) {
        Instruction::Run(Run { command: Command::Shell(text), .. }) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn continuations_comments_and_line_ends() {
    assert_eq!(run_text("RUN a \\\n  b\\\nc"), "a   bc");
    assert_eq!(run_text("RUN a \\\n# comment\n   # another\n\n b"), "a  b");
    assert_eq!(run_text("RUN a \\  \t\n b"), "a  b");
    assert_eq!(run_text("RUN a \\\r\n b\r\n"), "a  b");
    assert_eq!(run_text("  run a # not a comment"), "a # not a comment");
    // An escaped escape is no continuation.
    assert_eq!(file("FROM scratch\nRUN a \\\\\nUSER x").stages[0].instructions.len(), 2);
    // The file ends within a continuation.
    assert_eq!(run_text("RUN a \\"), "a");
    assert_eq!(file("\u{feff}FROM scratch\nRUN x").stages.len(), 1);
}

#[test]
fn directives() {
    let f = file("# syntax=docker/dockerfile:1.7\n# escape=`\n# check=skip=all\nFROM scratch\nRUN a `\n b\nRUN c:\\\n");
    assert_eq!((f.escape, f.check.as_deref(), f.stages[0].instructions.len()), ('`', Some("skip=all"), 2));
    // After the first line that is none, directives are comments.
    assert_eq!(file("# hello\n# escape=`\nFROM scratch").escape, '\\');
    assert!(wrong("# escape=x\nFROM scratch").contains("invalid escape token"));
    assert!(wrong("# escape=`\n# escape=`\nFROM scratch").contains("only one escape parser directive"));
    assert!(wrong("# syntax=evil/frontend\nFROM scratch").contains("unknown frontend"));
    for syntax in ["docker/dockerfile", "docker/dockerfile:1", "docker.io/docker/dockerfile:1.4-labs", "docker/dockerfile@sha256:aa"] {
        file(&format!("#syntax={syntax}\nFROM scratch"));
    }
}

#[test]
fn here_documents() {
    let Instruction::Run(run) = only("RUN <<EOF\necho a\n# kept\n\necho b\nEOF\n") else { panic!() };
    assert_eq!(run.command, Command::Shell("<<EOF".to_owned()));
    assert_eq!(run.heredocs[0].content, "echo a\n# kept\n\necho b\n");
    let Instruction::Run(run) = only("RUN cat <<-'A B' <<B > /x\n\t\tone $x\nA B\ntwo\nB") else { panic!() };
    assert_eq!((run.heredocs[0].content.as_str(), run.heredocs[0].expand), ("one $x\n", false));
    assert_eq!((run.heredocs[1].content.as_str(), run.heredocs[1].expand), ("two\n", true));
    let Instruction::Transfer(copy) = only("COPY --chmod=755 <<x.sh a /bin/\n#!/bin/sh\nx.sh\n") else { panic!() };
    assert_eq!(
        (copy.heredocs[0].name.as_str(), copy.sources.as_slice(), copy.dest.as_str()),
        ("x.sh", ["a".to_owned()].as_slice(), "/bin/")
    );
    assert!(run_text("RUN cat <<<word").contains("<<<"));
    assert_eq!(run_text("RUN echo \"<<EOF\" $((1<<2))"), "echo \"<<EOF\" $((1<<2))");
    assert!(wrong("FROM scratch\nRUN <<EOF\nx").contains("unterminated heredoc"));
    assert!(wrong("FROM scratch\nCOPY a <<EOF\nEOF").contains("heredoc as a destination"));
}

#[test]
fn forms_of_commands() {
    assert_eq!(only("CMD [\"a\", \"b c\"]"), Instruction::Cmd(Command::Exec(vec!["a".into(), "b c".into()])));
    assert_eq!(only("CMD [ 'a' ]"), Instruction::Cmd(Command::Shell("[ 'a' ]".into())));
    assert_eq!(only("CMD"), Instruction::Cmd(Command::Shell(String::new())));
    assert_eq!(only("ENTRYPOINT --x y"), Instruction::Entrypoint(Command::Shell("--x y".into())));
    assert_eq!(only("SHELL [\"/bin/bash\",\"-c\"]"), Instruction::Shell(vec!["/bin/bash".into(), "-c".into()]));
    assert!(wrong("FROM scratch\nCMD [1]").contains("strings only"));
    assert!(wrong("FROM scratch\nSHELL bash").contains("JSON form"));
}

#[test]
fn flags() {
    let Instruction::Run(run) =
        only("RUN --mount=type=cache,target=/c --mount=type=secret,id=s --network=none --security=sandbox make --jobs=4")
    else {
        panic!()
    };
    assert_eq!(run.mounts, ["type=cache,target=/c", "type=secret,id=s"]);
    assert_eq!((run.network.as_deref(), run.security.as_deref()), (Some("none"), Some("sandbox")));
    assert_eq!(run.command, Command::Shell("make --jobs=4".into()));
    let Instruction::Transfer(copy) = only("COPY --from=b --chown=1:2 --link --parents=false --exclude=*.md --exclude=x [\"a b\", \"/c\"]")
    else {
        panic!()
    };
    assert_eq!((copy.from.as_deref(), copy.link, copy.parents, copy.exclude.len()), (Some("b"), true, false, 2));
    assert_eq!(copy.sources, ["a b"]);
    for (text, part) in [
        ("COPY --form=a b c", "unknown flag: --form (did you mean from?)"),
        ("COPY --from=a --from=b c d", "duplicate flag"),
        ("COPY --link=maybe a b", "expecting boolean"),
        ("COPY --chown a b", "missing a value"),
        ("ADD --from=x a b", "unknown flag: --from"),
        ("USER --x y", "unknown flag: --x"),
    ] {
        let text = wrong(&format!("FROM scratch\n{text}"));
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn pairs_and_args() {
    let pairs = |p: &[(&str, &str)]| p.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
    assert_eq!(only("ENV a=1 b=\"x y\" c=x\\ y"), Instruction::Env(pairs(&[("a", "1"), ("b", "\"x y\""), ("c", "x\\ y")])));
    assert_eq!(only("ENV a the  value"), Instruction::Env(pairs(&[("a", "the  value")])));
    assert_eq!(only("LABEL \"a b\"=c"), Instruction::Label(pairs(&[("\"a b\"", "c")])));
    assert_eq!(only("ARG a b=c"), Instruction::Arg(vec![("a".into(), None), ("b".into(), Some("c".into()))]));
    for (text, part) in
        [("ENV a", "two arguments"), ("ENV a=1 b", "can't find ="), ("ENV =x", "blank"), ("LABEL", "at least one"), ("ARG", "at least one")]
    {
        let text = wrong(&format!("FROM scratch\n{text}"));
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn stages() {
    let f = file("ARG V=1\nFROM --platform=$BUILDPLATFORM a:$V AS Build\nFROM build\nFROM scratch as last-one.x");
    assert_eq!(f.global.len(), 1);
    assert_eq!((f.stages[0].name.as_deref(), f.stages[0].platform.as_deref()), (Some("build"), Some("$BUILDPLATFORM")));
    assert_eq!((f.stages[1].from.as_str(), f.stages[2].name.as_deref()), ("build", Some("last-one.x")));
    for (text, part) in [
        ("FROM", "one or three"),
        ("FROM a b c", "one or three"),
        ("FROM a AS 1x", "invalid name for build stage"),
        ("FROM a AS x\nFROM b AS X", "duplicate name x"),
        ("RUN x\nFROM a", "no build stage"),
        ("ARG a", "no FROM"),
        ("", "no instructions"),
        ("# only\n", "no instructions"),
    ] {
        let text = wrong(text);
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn health_onbuild_and_the_rest() {
    let Instruction::Healthcheck(h) = only("HEALTHCHECK --interval=1m30s --timeout=500ms --retries=4 CMD curl -f x") else { panic!() };
    assert_eq!((h.interval.as_secs(), h.timeout.as_millis(), h.retries), (90, 500, 4));
    assert_eq!(h.test, ["CMD-SHELL", "curl -f x"]);
    let Instruction::Healthcheck(h) = only("HEALTHCHECK none") else { panic!() };
    assert_eq!(h.test, ["NONE"]);
    assert_eq!(only("ONBUILD run a"), Instruction::Onbuild("run a".into()));
    assert_eq!(only("ONBUILD RUN <<E\nx\nE"), Instruction::Onbuild("RUN <<E\nx\nE".into()));
    assert_eq!(only("VOLUME [\"/a\", \"/b\"]"), only("VOLUME /a /b"));
    assert_eq!(only("EXPOSE 80 443/tcp"), Instruction::Expose(vec!["80".into(), "443/tcp".into()]));
    for (text, part) in [
        ("HEALTHCHECK", "at least one"),
        ("HEALTHCHECK CMD", "Missing command"),
        ("HEALTHCHECK HTTP x", "Unknown type"),
        ("HEALTHCHECK --interval=x CMD y", "invalid duration"),
        ("HEALTHCHECK --interval=5us CMD y", "less than 1ms"),
        ("ONBUILD ONBUILD RUN x", "Chaining"),
        ("ONBUILD FROM x", "isn't allowed"),
        ("ONBUILD COPY a", "at least two"),
        ("COPY a", "at least two"),
        ("WORKDIR", "at least one"),
        ("RUN", "at least one"),
        ("USER", "exactly one"),
    ] {
        let text = wrong(&format!("FROM scratch\n{text}"));
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn errors_show_the_place() {
    insta::assert_snapshot!(wrong("FROM scratch\n\n  RUNN echo hi"), @r"
    dockerfile parse error on line 3: unknown instruction: RUNN (did you mean RUN?)
    3 |   RUNN echo hi
      |   ^^^^
    ");
    insta::assert_snapshot!(wrong("FROM scratch\nCOPY --fron=x a b"), @r"
    dockerfile parse error on line 2: unknown flag: --fron (did you mean from?)
    2 | COPY --fron=x a b
      |      ^^^^^^
    ");
}

fn expanded(word: &str) -> Result<String, String> {
    let values = |name: &str| match name {
        "x" => Some("value".to_owned()),
        "empty" => Some(String::new()),
        "path" => Some("a/b/c.tar.gz".to_owned()),
        _ => None,
    };
    words::expand(word, '\\', &values)
}

#[test]
fn variables() {
    for (word, result) in [
        ("$x", "value"),
        ("a${x}b", "avalueb"),
        ("$xy", ""),
        ("\\$x", "$x"),
        ("'$x'", "$x"),
        ("\"$x\"", "value"),
        ("\"\\$x \\\" \\n\"", "$x \" \\n"),
        ("a\\ b", "a b"),
        ("$", "$"),
        ("$-", "$-"),
        ("$1x", "x"),
        ("${no:-word}", "word"),
        ("${empty:-word}", "word"),
        ("${empty-word}", ""),
        ("${no-word}", "word"),
        ("${x:+other}", "other"),
        ("${empty:+other}", ""),
        ("${empty+other}", "other"),
        ("${no:-${x:-y}}", "value"),
        ("${no:-a$x}", "avalue"),
        ("${x:?msg}", "value"),
        ("${path#*/}", "b/c.tar.gz"),
        ("${path##*/}", "c.tar.gz"),
        ("${path%.*}", "a/b/c.tar"),
        ("${path%%.*}", "a/b/c"),
        ("${path%%/*}", "a"),
        ("${path/b/X}", "a/X/c.tar.gz"),
        ("${path//\\//-}", "a-b-c.tar.gz"),
        ("${path/?/X}", "X/b/c.tar.gz"),
        ("${path//./}", "a/b/ctargz"),
        ("${path/nope/X}", "a/b/c.tar.gz"),
        ("${no#x}", ""),
    ] {
        assert_eq!(expanded(word).as_deref(), Ok(result), "{word}");
    }
    for (word, part) in [
        ("${x", "missing '}'"),
        ("${}", "bad substitution"),
        ("${no:?must be set}", "no: must be set"),
        ("${no?}", "no: is not allowed"),
        ("${x!y}", "unsupported modifier"),
        ("${x:!y}", "unsupported modifier"),
        ("'a", "single-quote"),
        ("\"a", "double-quote"),
    ] {
        let error = expanded(word).unwrap_err();
        assert!(error.contains(part), "{word}: {error}");
    }
    assert!(expanded(&"${no:-".repeat(1000)).is_err());
    assert_eq!(words::expand_document("a 'b' $x \\$x \\n", '\\', &|_: &str| Some("v".to_owned())).unwrap(), "a 'b' v $x \\n");
}

proptest::proptest! {
    #[test]
    fn nothing_panics(text in ".{0,300}") {
        let _ = Dockerfile::parse(text.as_bytes());
        let _ = Dockerfile::parse(format!("FROM scratch\n{text}").as_bytes());
    }

    #[test]
    fn nothing_like_a_dockerfile_panics(
        parts in proptest::collection::vec("(FROM|RUN|COPY|ENV|ARG|ONBUILD|HEALTHCHECK|CMD| |\n|\\\\|#|<<E|E|\\[|\"|'|--from=|--mount=|=|\\$\\{|\\}|a|b|%|/|:-)", 0..60)
    ) {
        let text = format!("FROM scratch\n{}", parts.concat());
        let _ = Dockerfile::parse(text.as_bytes());
    }

    #[test]
    fn words_never_panic(word in ".{0,80}") {
        let _ = words::expand(&word, '\\', &|n: &str| Some(n.to_owned()));
        let _ = words::expand_document(&word, '`', &|_: &str| None);
        let _ = words::split(&word, '\\');
    }

    /// What an instruction is shown as reads back as the same instruction.
    #[test]
    fn shown_text_reads_back(args in proptest::collection::vec("[a-z/.*-]{1,8}", 2..5), which in 0usize..6) {
        let name = ["RUN", "COPY", "ADD", "CMD", "ENTRYPOINT", "WORKDIR"][which];
        let args: Vec<_> = args.into_iter().filter(|a| !a.starts_with("--")).collect();
        proptest::prop_assume!(args.len() >= 2);
        let located = parse_instruction(&format!("{name}  {}", args.join(" ")), '\\').unwrap();
        let again = parse_instruction(&located.text, '\\').unwrap();
        proptest::prop_assert_eq!(located, again);
    }
}

/// Files as people write them, with what each comes to, counted by hand.
#[test]
fn a_corpus_of_files_reads_as_meant() {
    let corpus = include_str!("corpus.txt");
    let mut count = 0;
    for entry in corpus.split("### ").skip(1) {
        let (head, text) = entry.split_once('\n').unwrap();
        let text = if head.starts_with("crlf") { text.replace('\n', "\r\n") } else { text.to_owned() };
        let text = if head.starts_with("no newline") { text.trim_end().to_owned() } else { text };
        let file = Dockerfile::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{head}: {e}"));
        let instructions: usize = file.stages.iter().map(|s| s.instructions.len()).sum();
        let (name, _) = head.split_once(": ").unwrap();
        assert_eq!(head, format!("{name}: {} stages, {instructions} instructions", file.stages.len()));
        // What is shown of an instruction reads back as the same one, apart from its documents.
        for located in file.stages.iter().flat_map(|s| &s.instructions) {
            let has_documents = match &located.instruction {
                Instruction::Run(run) => !run.heredocs.is_empty(),
                Instruction::Transfer(t) => !t.heredocs.is_empty(),
                _ => false,
            };
            if !has_documents {
                let again = parse_instruction(&located.text, file.escape).unwrap_or_else(|e| panic!("{head}: {e}"));
                assert_eq!(again.instruction, located.instruction, "{head}");
            }
        }
        count += 1;
    }
    assert!(count >= 60, "{count}");
}
