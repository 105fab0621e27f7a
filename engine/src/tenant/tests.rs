use super::*;
use crate::{Scope, Via};
use std::path::Path;

async fn host(dir: &Path, name: &str) -> (Inventory, Tenants) {
    let instance = Instance::open(&dir.join(name), &dir.join(format!("{name}-run"))).unwrap();
    let inventory = Inventory::open(&instance.data_root().join("wharf.db")).await.unwrap();
    std::fs::create_dir_all(dir.join("etc")).unwrap();
    let first = 1_879_048_192;
    let pool = Pool { first, last: first + 40 * BLOCK_SIZE - 1, claims: dir.join("claims"), etc: dir.join("etc") };
    let tenants = Tenants::open(&instance, inventory.clone(), pool).await.unwrap();
    // The lock on the data root ends with the instance; so a test can open it a second time, as after a restart.
    (inventory, tenants)
}

#[tokio::test]
async fn tenants_survive_a_restart_with_all_they_have() {
    let dir = tempfile::tempdir().unwrap();
    let (db, tenants) = host(dir.path(), "a").await;
    let bob = tenants.personal(db.begin().await.unwrap(), UserId(7), "bob").await.unwrap();
    assert_eq!(tenants.personal(db.begin().await.unwrap(), UserId(7), "other").await.unwrap(), bob, "made once");
    let team = tenants.create_team(db.begin().await.unwrap(), "team", UserId(7)).await.unwrap();
    tenants.set_member(db.begin().await.unwrap(), team.id, UserId(8), MemberRole::Viewer).await.unwrap();
    let quota = Quota { memory: Some(1 << 30), containers: Some(5), ..Quota::default() };
    tenants.set_quota(db.begin().await.unwrap(), team.id, quota).await.unwrap();
    let soon = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let grant = tenants.add_grant(db.begin().await.unwrap(), bob.id, "cap=NET_ADMIN".parse().unwrap(), Some(soon), "root").await.unwrap();
    let isolated = crate::ContainerId::random();
    let mut tx = db.begin().await.unwrap();
    let own = tenants.isolate(&mut tx, bob.id, &isolated).await.unwrap();
    tx.commit().await.unwrap();
    let layers = tenants.layers_block().await.unwrap();
    drop((db, tenants));

    let (_, again) = host(dir.path(), "a").await;
    assert_eq!(again.by_name("bob").unwrap(), bob);
    assert_eq!(again.get(team.id).unwrap().quota, quota);
    assert_eq!(again.members(team.id), [(UserId(7), MemberRole::Owner), (UserId(8), MemberRole::Viewer)].into());
    assert_eq!(again.grants(bob.id), [grant]);
    assert_eq!(again.isolated_block(&isolated), Some(own));
    assert_eq!(again.layers_block().await.unwrap(), layers);
    assert_eq!(again.tenant_of_uid(bob.block.base + 1000), Some(bob.id));
    let names: Vec<String> = again.of_user(UserId(7)).iter().map(|(t, _)| t.name.clone()).collect();
    assert_eq!(names, ["bob", "team"]);
    assert_eq!(again.role(team.id, UserId(9)), None);
    assert_eq!(again.role(bob.id, UserId(8)), None);
}

#[tokio::test]
async fn blocks_never_overlap_not_even_between_instances_or_after_removal() {
    let dir = tempfile::tempdir().unwrap();
    let (db_a, a) = host(dir.path(), "a").await;
    let (db_b, b) = host(dir.path(), "b").await;
    let mut blocks = Vec::new();
    for i in 0..8 {
        blocks.push(a.create_team(db_a.begin().await.unwrap(), &format!("t{i}"), UserId(1)).await.unwrap().block);
        blocks.push(b.create_team(db_b.begin().await.unwrap(), &format!("t{i}"), UserId(1)).await.unwrap().block);
        let mut tx = db_a.begin().await.unwrap();
        blocks.push(a.isolate(&mut tx, a.by_name("t0").unwrap().id, &crate::ContainerId::random()).await.unwrap());
        tx.commit().await.unwrap();
    }
    let gone = a.by_name("t3").unwrap();
    a.remove(db_a.begin().await.unwrap(), gone.id).await.unwrap();
    for i in 10..20 {
        blocks.push(a.create_team(db_a.begin().await.unwrap(), &format!("t{i}"), UserId(1)).await.unwrap().block);
    }
    blocks.sort_unstable();
    for pair in blocks.windows(2) {
        assert!(pair[0].base + pair[0].size <= pair[1].base, "{pair:?}");
    }
    // The tombstone is there until somebody says that its data is gone.
    assert_eq!(a.released_blocks(), [gone.block]);
    assert!(a.forget_block(a.by_name("t0").unwrap().block).await.is_err(), "one in use is not forgotten");
    a.forget_block(gone.block).await.unwrap();
    assert!(a.released_blocks().is_empty());
}

#[tokio::test]
async fn a_change_that_is_not_allowed_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (db, tenants) = host(dir.path(), "a").await;
    let team = tenants.create_team(db.begin().await.unwrap(), "team", UserId(7)).await.unwrap();
    for name in ["team", "", "../x", "a/b", "-a", "a b", "é"] {
        assert!(tenants.create_team(db.begin().await.unwrap(), name, UserId(7)).await.is_err(), "{name:?}");
    }
    assert!(tenants.remove_member(db.begin().await.unwrap(), team.id, UserId(7)).await.is_err(), "the last owner stays");
    assert!(tenants.set_member(db.begin().await.unwrap(), team.id, UserId(7), MemberRole::Viewer).await.is_err());
    let bob = tenants.personal(db.begin().await.unwrap(), UserId(8), "bob").await.unwrap();
    assert!(
        tenants.set_member(db.begin().await.unwrap(), bob.id, UserId(7), MemberRole::Member).await.is_err(),
        "a personal tenant has no members"
    );
    tenants.rename(db.begin().await.unwrap(), team.id, "crew").await.unwrap();
    assert!(tenants.by_name("team").is_none() && tenants.by_name("crew").is_some());
    tenants.remove(db.begin().await.unwrap(), team.id).await.unwrap();
    assert!(tenants.get(team.id).is_none() && tenants.by_name("crew").is_none());
    // The name is free again, the id is not.
    let new = tenants.create_team(db.begin().await.unwrap(), "crew", UserId(7)).await.unwrap();
    assert_ne!(new.id, team.id);
}

#[tokio::test]
async fn all_grants_are_the_administrators_in_the_own_tenant_only() {
    let dir = tempfile::tempdir().unwrap();
    let (db, tenants) = host(dir.path(), "a").await;
    let root = tenants.personal(db.begin().await.unwrap(), UserId::ROOT, "root").await.unwrap();
    let bob = tenants.personal(db.begin().await.unwrap(), UserId(8), "bob").await.unwrap();
    let who = |user, tenant: &Tenant, role, via| Subject {
        user,
        name: "x".into(),
        tenant: tenant.id,
        tenant_name: tenant.name.clone(),
        role,
        unix: None,
        via,
        ip: None,
        scope: Scope::Write,
    };
    let all = |s: Subject| tenants.standing(&s).unwrap().grants == Grants::All;
    assert!(all(who(Some(UserId::ROOT), &root, Role::Admin, Via::Socket)));
    assert!(!all(who(Some(UserId::ROOT), &bob, Role::Admin, Via::Socket)), "somebody else's tenant");
    assert!(!all(who(None, &root, Role::User, Via::TenantSocket)), "a container with the tenant's socket");
    assert!(!all(who(Some(UserId(8)), &bob, Role::User, Via::Socket)));
    let past = Timestamp::now() - jiff::SignedDuration::from_secs(1);
    tenants.add_grant(db.begin().await.unwrap(), bob.id, GrantKind::Gpu, Some(past), "root").await.unwrap();
    let grant = tenants.add_grant(db.begin().await.unwrap(), bob.id, GrantKind::Privileged, None, "root").await.unwrap();
    let standing = tenants.standing(&who(Some(UserId(8)), &bob, Role::User, Via::Token)).unwrap();
    assert!(!standing.grants.has(&GrantKind::Gpu), "expired");
    assert!(standing.grants.has(&GrantKind::Privileged));
    tenants.remove_grant(db.begin().await.unwrap(), grant.id).await.unwrap();
    assert!(!tenants.standing(&who(Some(UserId(8)), &bob, Role::User, Via::Token)).unwrap().grants.has(&GrantKind::Privileged));
}
