//! Names, removal rules, lists, prune, collection.

use super::*;
use crate::image::ImageUse;
use crate::{ContainerId, Kind};

async fn image(s: &Store, name: &str, content: &[u8], parent: Option<Digest>) -> Digest {
    let names = if name.is_empty() { vec![] } else { vec![name.to_owned()] };
    let labels = [("k".to_owned(), String::from_utf8_lossy(content).into_owned())].into();
    let new = NewImage {
        base: parent,
        layer: Some(body(tar(&[("f", content)]))),
        names,
        config: ImageConfig { labels, ..Default::default() },
        ..Default::default()
    };
    s.images.create_from(A, new).await.unwrap()
}

fn shown(removals: &[Removal]) -> Vec<String> {
    removals
        .iter()
        .map(|r| match r {
            Removal::Untagged(name) => format!("-{name}"),
            Removal::Deleted(id) => format!("!{}", &id.hex()[..6]),
        })
        .collect()
}

#[tokio::test]
async fn a_name_goes_alone_until_it_is_the_last() {
    let s = store().await;
    let id = image(&s, "t:one", b"1", None).await;
    s.images.tag(A, "t:one", "t", "two").await.unwrap();
    let path = s.images.layers(A, &id).await.unwrap()[0].path.clone();
    assert_eq!(shown(&s.images.remove(A, "t:one", false, false, &[]).await.unwrap()), ["-t:one"]);
    assert!(path.exists());
    let gone = shown(&s.images.remove(A, "t:two", false, false, &[]).await.unwrap());
    assert_eq!(gone, ["-t:two".to_owned(), format!("!{}", &id.hex()[..6])]);
    let e = s.images.resolve(A, "t:two").await.unwrap_err();
    assert_eq!(e.to_string(), "No such image: t:two");
    s.settled(0).await;
    assert!(s.images.tag(A, "t:two", "x", "1").await.unwrap_err().is_not_found());
    image(&s, "t:one", b"1", None).await;
    for bad in [("sm-T", "bad tag"), ("x", "-"), ("x@sha256:00", "1")] {
        assert_eq!(s.images.tag(A, "t:one", bad.0, bad.1).await.unwrap_err().kind(), Kind::Invalid, "{bad:?}");
    }
}

#[tokio::test]
async fn what_a_container_uses_is_kept_for_it() {
    let s = store().await;
    let id = image(&s, "t:1", b"1", None).await;
    let hex = &id.hex()[..12];
    let container = ContainerId::random();
    let used = |running| [ImageUse { image: id, container: container.clone(), running }];
    let e = s.images.remove(A, "t:1", false, false, &used(false)).await.unwrap_err();
    let c = container.short();
    assert_eq!(
        e.to_string(),
        format!("conflict: unable to remove repository reference \"t:1\" (must force) - container {c} is using its referenced image {hex}")
    );
    let e = s.images.remove(A, hex, false, false, &used(false)).await.unwrap_err();
    assert_eq!(e.to_string(), format!("conflict: unable to delete {hex} (must be forced) - image is being used by stopped container {c}"));
    let e = s.images.remove(A, hex, true, false, &used(true)).await.unwrap_err();
    assert_eq!(
        e.to_string(),
        format!("conflict: unable to delete {hex} (cannot be forced) - image is being used by running container {c}")
    );
    assert_eq!(e.kind(), Kind::Conflict);
    // By force it is gone for people, and there for the container.
    s.images.remove(A, "t:1", true, false, &used(false)).await.unwrap();
    assert!(s.images.list(A, &ImageFilter { all: true, ..Default::default() }).await.unwrap().is_empty());
    let path = s.images.layers(A, &id).await.unwrap()[0].path.clone();
    s.images.collect(&[(A, id)]).await.unwrap();
    assert!(path.join("f").exists());
    s.images.collect(&[]).await.unwrap();
    s.settled(0).await;
}

#[tokio::test]
async fn an_id_with_several_repositories_needs_force() {
    let s = store().await;
    let id = image(&s, "one:1", b"1", None).await;
    s.images.tag(A, "one:1", "two", "1").await.unwrap();
    let e = s.images.remove(A, &id.to_string(), false, false, &[]).await.unwrap_err();
    assert!(e.to_string().ends_with("(must be forced) - image is referenced in multiple repositories"), "{e}");
    assert_eq!(s.images.remove(A, &id.to_string(), true, false, &[]).await.unwrap().len(), 3);
}

#[tokio::test]
async fn parents_stay_while_they_have_children_and_nameless_ones_go_with_the_last() {
    let s = store().await;
    let base = image(&s, "", b"1", None).await;
    image(&s, "child:1", b"2", Some(base)).await;
    assert_eq!(s.images.list(A, &ImageFilter::default()).await.unwrap().len(), 1);
    assert_eq!(s.images.list(A, &ImageFilter { all: true, ..Default::default() }).await.unwrap().len(), 2);
    let e = s.images.remove(A, &base.to_string(), true, false, &[]).await.unwrap_err();
    assert!(e.to_string().ends_with("(cannot be forced) - image has dependent child images"), "{e}");
    assert_eq!(s.images.remove(A, "child:1", false, false, &[]).await.unwrap().len(), 3);
    s.settled(0).await;
}

#[tokio::test]
async fn filters_and_prune() {
    let s = store().await;
    let old = image(&s, "old:1", b"1", None).await;
    let dangling = image(&s, "", b"2", None).await;
    let new = image(&s, "new:1", b"3", None).await;
    let list = async |key: &str, value: &str| {
        let filter = ImageFilter { filters: [(key.to_owned(), vec![value.to_owned()])].into(), ..Default::default() };
        s.images.list(A, &filter).await.map(|l| l.iter().map(|i| i.id).collect::<Vec<_>>())
    };
    assert_eq!(list("dangling", "true").await.unwrap(), [dangling]);
    assert_eq!(list("label", "k=1").await.unwrap(), [old]);
    assert_eq!(list("label!", "k=1").await.unwrap(), [new, dangling]);
    assert_eq!(list("reference", "n*").await.unwrap(), [new]);
    assert_eq!(list("before", "new:1").await.unwrap(), [dangling, old]);
    assert_eq!(list("since", "old:1").await.unwrap(), [new, dangling]);
    assert_eq!(list("foo", "x").await.unwrap_err().to_string(), "invalid filter 'foo'");
    assert!(list("before", "none").await.unwrap_err().is_not_found());
    let (removed, freed) = s.images.prune(A, &Default::default(), &[]).await.unwrap();
    assert_eq!(removed, [Removal::Deleted(dangling)]);
    assert!(freed > 0);
    let all: std::collections::BTreeMap<_, _> = [("dangling".to_owned(), vec!["false".to_owned()])].into();
    let (removed, _) = s.images.prune(A, &all, &[old]).await.unwrap();
    assert_eq!(removed, [Removal::Untagged("new:1".into()), Removal::Deleted(new)]);
    assert!(s.images.usage(A).await.unwrap().layers > 0 && s.images.usage(B).await.unwrap() == Usage::default());
}

#[tokio::test]
async fn a_start_sweeps_what_a_crash_left() {
    let s = store().await;
    image(&s, "t:1", b"1", None).await;
    let root = s.instance.data_root();
    std::fs::create_dir_all(root.join("layers/new-x/deep")).unwrap();
    std::fs::create_dir(root.join("layers/orphan")).unwrap();
    std::fs::write(root.join("content/ingest/new-y"), "x").unwrap();
    std::fs::write(root.join("content/ingest/0-aa"), "may be continued").unwrap();
    std::fs::write(root.join("content/sha256/bb"), "x").unwrap();
    let again = Images::open(&s.instance, s.inventory.clone(), ImagesConfig::default()).await.unwrap();
    s.settled(3).await;
    assert!(root.join("content/ingest/0-aa").exists());
    assert_eq!(again.resolve(A, "t:1").await.unwrap().size, 1);
}
