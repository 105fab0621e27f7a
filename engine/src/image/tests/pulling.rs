//! Pulls from a registry that behaves, and from one that does not.

use super::fake::Registry;
use super::*;
use crate::Kind;

#[tokio::test]
async fn a_pull_says_dockers_words_and_lands_in_layers() {
    let (s, r) = (store().await, Registry::start().await);
    let (digest, id) = r.image("library/x", &[layer(&[("a", b"1")]), layer(&[("b", b"2")])]);
    let name = format!("{}/library/x", r.address);
    let lines = s.pull(A, &name).await.unwrap();
    assert_eq!(lines[0], "latest: Pulling from library/x");
    for word in ["Pulling fs layer", "Waiting", "Downloading", "Verifying Checksum", "Download complete", "Pull complete"] {
        assert!(lines.iter().filter(|l| l.ends_with(word)).count() >= 2, "{word}: {lines:?}");
    }
    assert_eq!(lines[lines.len() - 2], format!("Digest: {digest}"));
    assert_eq!(lines[lines.len() - 1], format!("Status: Downloaded newer image for {name}:latest"));
    let image = s.images.resolve(A, &name).await.unwrap();
    assert_eq!((image.id, image.tags.as_slice(), image.size), (id, [format!("{name}:latest")].as_slice(), 2));
    assert_eq!(image.digests, [format!("{name}@{digest}")]);
    assert_eq!(image.config.cmd.as_deref(), Some(["sh".to_owned()].as_slice()));
    assert_eq!(image.history.iter().map(|h| h.size).collect::<Vec<_>>(), [1, 1]);
    let layers = s.images.layers(A, &id).await.unwrap();
    assert_eq!(std::fs::read(layers[0].path.join("a")).unwrap(), b"1");
    assert_eq!(std::fs::read(layers[1].path.join("b")).unwrap(), b"2");
    // Again: nothing is fetched but the manifest.
    let before = r.requests("/blobs/");
    let lines = s.pull(A, &name).await.unwrap();
    assert_eq!(lines.last().unwrap(), &format!("Status: Image is up to date for {name}:latest"));
    assert_eq!(r.requests("/blobs/"), before);
    // By digest, which sets no tag.
    let lines = s.pull(A, &format!("{name}@{digest}")).await.unwrap();
    assert_eq!(lines.last().unwrap(), &format!("Status: Image is up to date for {name}@{digest}"));
    assert_eq!(s.images.resolve(A, &format!("{name}@{digest}")).await.unwrap().id, id);
    assert_eq!(s.images.resolve(A, &id.hex()[..12]).await.unwrap().id, id);
}

#[tokio::test]
async fn an_index_gives_this_hosts_image_or_the_one_asked_for() {
    let (s, r) = (store().await, Registry::start().await);
    let (amd, amd_id) = r.image("x", &[layer(&[("a", b"amd")])]);
    let (arm, arm_id) = r.image("x", &[layer(&[("a", b"arm")])]);
    let index = r.index("x", "multi", &[(amd, "amd64", ""), (arm, "arm64", "v8")]);
    let name = format!("{}/x:multi", r.address);
    let lines = s.pull(A, &name).await.unwrap();
    assert!(lines.contains(&format!("Digest: {index}")), "the index is what the name stands for: {lines:?}");
    let asked = s.images.distribution(&name, None).await.unwrap();
    assert_eq!((asked.digest, asked.platforms.len()), (index, 2));
    let host = if cfg!(target_arch = "x86_64") { amd_id } else { arm_id };
    assert_eq!(s.images.resolve(A, &name).await.unwrap().id, host);
    let request = PullRequest { image: name.clone(), platform: Some("linux/arm64".into()), ..Default::default() };
    told(s.images.pull(A, request).await.unwrap()).await.unwrap();
    assert_eq!(s.images.resolve(A, &name).await.unwrap().id, arm_id);
    let request = PullRequest { image: name, platform: Some("linux/s390x".into()), ..Default::default() };
    let Err(e) = s.images.pull(A, request).await else { panic!("there is no such platform") };
    assert!(e.to_string().starts_with("no matching manifest for linux/s390x in the manifest list entries"), "{e}");
}

#[tokio::test]
async fn absent_and_denied_images_have_dockers_texts() {
    let (s, r) = (store().await, Registry::start().await);
    let e = s.pull(A, &format!("{}/none:1", r.address)).await.unwrap_err();
    assert_eq!(e.to_string(), format!("manifest for {}/none:1 not found: manifest unknown: manifest unknown", r.address));
    assert!(e.is_not_found());
    r.with(|s| s.basic = Some("dTpw".into()));
    let e = s.pull(A, &format!("{}/none:1", r.address)).await.unwrap_err();
    let start = format!("pull access denied for {}/none, repository does not exist or may require 'docker login': ", r.address);
    assert!(e.to_string().starts_with(&start), "{e}");
    let e = s.pull(A, "127.0.0.1:1/x").await.unwrap_err();
    assert_eq!(e.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn credentials_open_a_registry_and_close_its_layers_to_other_tenants() {
    let (s, r) = (store().await, Registry::start().await);
    let secret = layer(&[("secret", b"of A")]);
    r.image("x", std::slice::from_ref(&secret));
    r.with(|s| s.basic = Some("dTpw".into()));
    let auth = RegistryAuth { username: "u".into(), password: "p".into(), server_address: r.address.clone(), ..Default::default() };
    assert_eq!(s.images.login(&auth).await.unwrap(), "Login Succeeded");
    let wrong = RegistryAuth { password: "no".into(), ..auth.clone() };
    assert_eq!(s.images.login(&wrong).await.unwrap_err().kind(), Kind::Forbidden);
    let name = format!("{}/x", r.address);
    s.pull_as(A, &name, Some(auth.clone())).await.unwrap();
    assert!(s.inventory.visible_layer(A, &secret.1).await.unwrap().is_some());
    // B neither sees the image, nor saves the download by knowing the digest.
    assert!(s.images.resolve(B, &name).await.unwrap_err().is_not_found());
    assert!(s.inventory.visible_layer(B, &secret.1).await.unwrap().is_none());
    let before = r.requests(&format!("/blobs/{}", Digest::of(&secret.0)));
    s.pull_as(B, &name, Some(auth)).await.unwrap();
    assert!(r.requests(&format!("/blobs/{}", Digest::of(&secret.0))) > before);
    let (a, b) = (s.images.resolve(A, &name).await.unwrap().id, s.images.resolve(B, &name).await.unwrap().id);
    assert_ne!(s.images.layers(A, &a).await.unwrap()[0].path, s.images.layers(B, &b).await.unwrap()[0].path);
}

#[tokio::test]
async fn an_anonymous_pull_is_shared_and_its_names_are_not() {
    let (s, r) = (store().await, Registry::start().await);
    let (_, id) = r.image("x", &[layer(&[("a", b"1")])]);
    let name = format!("{}/x", r.address);
    s.pull(A, &name).await.unwrap();
    assert!(s.images.list(B, &ImageFilter::default()).await.unwrap().is_empty());
    let lines = s.pull(B, &name).await.unwrap();
    assert!(lines.iter().any(|l| l.ends_with("Already exists")), "{lines:?}");
    assert_eq!(s.images.layers(A, &id).await.unwrap(), s.images.layers(B, &id).await.unwrap());
    // Removing it for one does not take it from the other (tag poisoning, H9, is the same walk with `tag`).
    s.images.remove(A, &name, false, false, &[]).await.unwrap();
    assert!(s.images.layers(B, &id).await.unwrap()[0].path.join("a").exists());
}

#[tokio::test]
async fn a_bearer_token_comes_from_the_realm_and_credentials_go_nowhere_else() {
    let (s, r) = (store().await, Registry::start().await);
    r.image("x", &[layer(&[("a", b"1")])]);
    r.with(|state| state.realm = Some(format!("http://{}/token", r.address)));
    s.pull(A, &format!("{}/x", r.address)).await.unwrap();
    // Credentials that name another registry are not sent, neither to this one nor to its realm.
    let foreign = RegistryAuth { username: "u".into(), password: "p".into(), server_address: "ghcr.io".into(), ..Default::default() };
    s.pull_as(B, &format!("{}/x", r.address), Some(foreign)).await.unwrap();
    let state = r.state.lock().unwrap();
    assert!(state.log.iter().all(|(_, a)| a.as_deref().is_none_or(|a| a == "Bearer t0k3n")), "{:?}", state.log);
}

#[tokio::test]
async fn sec_h4_a_realm_elsewhere_gets_nothing() {
    let (s, r, thief) = (store().await, Registry::start().await, Registry::start().await);
    r.image("x", &[layer(&[("a", b"1")])]);
    r.with(|s| s.realm = Some("http://169.254.169.254/token".into()));
    let auth = RegistryAuth { username: "u".into(), password: "p".into(), ..Default::default() };
    let e = s.pull_as(A, &format!("{}/x", r.address), Some(auth)).await.unwrap_err();
    assert_eq!(e.kind(), Kind::Invalid, "{e}");
    assert_eq!(thief.requests(""), 0);
}

#[tokio::test]
async fn sec_r16_a_cut_download_is_continued_and_a_busy_registry_waited_for() {
    let (s, r) = (store().await, Registry::start().await);
    let big = layer(&[("big", &noise(400_000))]);
    r.image("x", std::slice::from_ref(&big));
    r.with(|s| (s.cut, s.busy) = (Some((64 * 1024, 4)), 2));
    s.pull(A, &format!("{}/x", r.address)).await.unwrap();
    assert!(r.requests(&Digest::of(&big.0).to_string()) >= 5);
    // Without ranges it starts over.
    let (s, r) = (store().await, Registry::start().await);
    r.image("x", std::slice::from_ref(&big));
    r.with(|s| (s.cut, s.ranges) = (Some((64 * 1024, 1)), false));
    s.pull(A, &format!("{}/x", r.address)).await.unwrap();
}

#[tokio::test]
async fn a_dropped_pull_leaves_a_partial_file_that_the_next_continues() {
    let (s, r) = (store().await, Registry::start().await);
    let big = layer(&[("big", &noise(2_000_000))]);
    r.image("x", std::slice::from_ref(&big));
    let name = format!("{}/x", r.address);
    // It never gets beyond the first half.
    r.with(|s| s.cut = Some((1_000_000, 1)));
    let mut stream = s.images.pull(A, PullRequest { image: name.clone(), tag: "latest".into(), ..Default::default() }).await.unwrap();
    while let Some(p) = stream.next().await {
        if matches!(p, Progress::Status { bytes: Some((n, _)), .. } if n > 0) {
            break;
        }
    }
    drop(stream);
    let partial = s.instance.data_root().join("content/ingest").join(format!("0-{}", Digest::of(&big.0).hex()));
    assert!(partial.exists());
    s.pull(A, &name).await.unwrap();
    assert_eq!(s.leftovers().len(), 2, "one blob, one layer: {:?}", s.leftovers());
}

#[tokio::test]
async fn sec_r17_what_is_not_what_its_digest_says_is_never_kept() {
    let good = layer(&[("a", &noise(100_000))]);
    let digest = Digest::of(&good.0);
    let mut flipped = good.0.clone();
    flipped[50_000] ^= 1;
    let other = layer(&[("b", &noise(1000))]);
    let mut longer = good.0.clone();
    longer.extend_from_slice(b"more");
    for (what, blob) in
        [("a flipped bit", flipped), ("other content", other.0.clone()), ("truncated", good.0[..99].to_vec()), ("longer", longer)]
    {
        let (s, r) = (store().await, Registry::start().await);
        r.image("x", std::slice::from_ref(&good));
        r.with(|s| drop(s.blobs.insert(digest.to_string(), blob)));
        let e = s.pull(A, &format!("{}/x", r.address)).await.unwrap_err();
        assert!(e.to_string().contains(&digest.to_string()) || e.to_string().contains("archive"), "{what}: {e}");
        assert!(s.images.list(A, &ImageFilter::default()).await.unwrap().is_empty(), "{what}");
        s.settled(0).await;
    }
    // A layer that is what the manifest says, but not what the configuration says.
    let (s, r) = (store().await, Registry::start().await);
    r.image("x", &[(good.0.clone(), Digest::of(b"a lie"))]);
    let e = s.pull(A, &format!("{}/x", r.address)).await.unwrap_err();
    assert!(e.to_string().contains("layer verification failed"), "{e}");
    s.settled(0).await;
    // A manifest that is not what its digest says.
    let (s, r) = (store().await, Registry::start().await);
    let (manifest, _) = r.image("x", std::slice::from_ref(&good));
    r.with(|s| s.manifests.get_mut(&format!("x/{manifest}")).unwrap().1.push(b' '));
    let e = s.pull(A, &format!("{}/x@{manifest}", r.address)).await.unwrap_err();
    assert!(e.to_string().contains("verification failed"), "{e}");
}

#[tokio::test]
async fn sec_r18_a_huge_manifest_is_refused_before_it_is_read() {
    let (s, r) = (store().await, Registry::start().await);
    r.with(|s| {
        s.manifests.insert("x/latest".into(), ("application/json".into(), vec![b' '; 100 << 20]));
    });
    let e = s.pull(A, &format!("{}/x", r.address)).await.unwrap_err();
    assert!(e.to_string().contains("more than"), "{e}");
    // An index that contains itself.
    let d = Digest::of(b"x");
    let looped = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"m","digest":"{d}","size":1,"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
    );
    r.with(|s| {
        s.manifests.insert("y/latest".into(), ("application/vnd.oci.image.index.v1+json".into(), looped.into_bytes()));
    });
    assert!(s.pull(A, &format!("{}/y", r.address)).await.is_err());
}

#[tokio::test]
async fn docker_hub_images_come_from_a_mirror_that_gets_no_credentials() {
    let r = Registry::start().await;
    r.image("library/x", &[layer(&[("a", b"1")])]);
    let s = store_with(ImagesConfig { mirrors: vec![format!("http://{}/", r.address)], ..Default::default() }).await;
    let auth = RegistryAuth { username: "u".into(), password: "p".into(), ..Default::default() };
    let lines = s.pull_as(A, "x", Some(auth)).await.unwrap();
    assert_eq!(lines.last().unwrap(), "Status: Downloaded newer image for x:latest");
    assert_eq!(s.images.resolve(A, "x").await.unwrap().tags, ["x:latest"]);
    assert!(r.state.lock().unwrap().log.iter().all(|(_, a)| a.is_none()));
}

#[tokio::test]
async fn two_pulls_of_one_image_share_the_work() {
    let (s, r) = (store().await, Registry::start().await);
    let big = layer(&[("big", &noise(1_000_000))]);
    r.image("x", std::slice::from_ref(&big));
    let name = format!("{}/x", r.address);
    let (a, b) = tokio::join!(s.pull(A, &name), s.pull(B, &name));
    a.unwrap();
    b.unwrap();
    assert_eq!(r.requests(&Digest::of(&big.0).to_string()), 1);
}

#[tokio::test]
async fn all_tags_of_a_repository() {
    let (s, r) = (store().await, Registry::start().await);
    let (one, _) = r.image("x", &[layer(&[("a", b"1")])]);
    r.index("x", "other", &[(one, if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }, "")]);
    let request = PullRequest { image: format!("{}/x", r.address), ..Default::default() };
    told(s.images.pull(A, request).await.unwrap()).await.unwrap();
    let image = &s.images.list(A, &ImageFilter::default()).await.unwrap()[0];
    assert_eq!(image.tags.len(), 2, "{image:?}");
}
