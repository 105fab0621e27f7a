//! Rows of networks and endpoints.

use super::{Inventory, Tx};
use crate::id::{EndpointId, NetworkId, TenantId};
use crate::network::{Attachment, NetworkSpec};
use crate::{Doing, Error, Result};
use jiff::Timestamp;
use sqlx::Row;

/// A row of `networks`.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkRow {
    /// Its id.
    pub id: NetworkId,
    /// Whose.
    pub tenant: TenantId,
    /// The bridge's name in the host; empty for `host` and `none`.
    pub ifname: String,
    /// One of the three that always exist.
    pub predefined: bool,
    /// What it is.
    pub spec: NetworkSpec,
    /// Whether its owner chose the subnets.
    pub chosen: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// Writes a network.
pub async fn insert(tx: &mut Tx, row: &NetworkRow) -> Result<()> {
    let spec = serde_json::to_string(&row.spec).doing(|| "writing a network's row".to_owned())?;
    sqlx::query("insert into networks (id, tenant, name, ifname, predefined, spec, chosen, created) values (?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(row.id.as_str())
        .bind(row.tenant.0)
        .bind(&row.spec.name)
        .bind(&row.ifname)
        .bind(row.predefined)
        .bind(spec)
        .bind(row.chosen)
        .bind(row.created.as_millisecond())
        .execute(&mut **tx)
        .await
        .doing(|| format!("writing network {}", row.spec.name))?;
    Ok(())
}

/// Removes a network.
pub async fn delete(tx: &mut Tx, id: &NetworkId) -> Result<()> {
    sqlx::query("delete from networks where id = ?")
        .bind(id.as_str())
        .execute(&mut **tx)
        .await
        .doing(|| format!("removing network {}", id.short()))?;
    Ok(())
}

/// All networks.
pub async fn all(inventory: &Inventory) -> Result<Vec<NetworkRow>> {
    let doing = || "reading the networks".to_owned();
    let rows = sqlx::query("select id, tenant, ifname, predefined, spec, chosen, created from networks order by created, id")
        .fetch_all(inventory.reader())
        .await
        .doing(doing)?;
    rows.iter()
        .map(|row| {
            Ok(NetworkRow {
                id: row.try_get::<String, _>("id").doing(doing)?.parse()?,
                tenant: TenantId(row.try_get("tenant").doing(doing)?),
                ifname: row.try_get("ifname").doing(doing)?,
                predefined: row.try_get("predefined").doing(doing)?,
                spec: serde_json::from_str(row.try_get("spec").doing(doing)?).doing(doing)?,
                chosen: row.try_get("chosen").doing(doing)?,
                created: Timestamp::from_millisecond(row.try_get("created").doing(doing)?)
                    .map_err(|e| Error::internal("reading the networks", e))?,
            })
        })
        .collect()
}

/// Writes an endpoint, or writes it anew.
pub async fn put_endpoint(tx: &mut Tx, attachment: &Attachment) -> Result<()> {
    let json = serde_json::to_string(attachment).doing(|| "writing an endpoint's row".to_owned())?;
    sqlx::query(
        "insert into endpoints (id, network, container, attachment) values (?, ?, ?, ?) \
         on conflict (id) do update set attachment = excluded.attachment",
    )
    .bind(attachment.endpoint.as_str())
    .bind(attachment.network.as_str())
    .bind(attachment.container.as_str())
    .bind(json)
    .execute(&mut **tx)
    .await
    .doing(|| format!("writing an endpoint of {}", attachment.name))?;
    Ok(())
}

/// Removes endpoints.
pub async fn delete_endpoints(tx: &mut Tx, ids: &[EndpointId]) -> Result<()> {
    for id in ids {
        sqlx::query("delete from endpoints where id = ?")
            .bind(id.as_str())
            .execute(&mut **tx)
            .await
            .doing(|| format!("removing endpoint {}", id.short()))?;
    }
    Ok(())
}

/// Removes the endpoints of a network that nobody is in any more.
pub async fn delete_endpoints_of(tx: &mut Tx, network: &NetworkId) -> Result<()> {
    sqlx::query("delete from endpoints where network = ?")
        .bind(network.as_str())
        .execute(&mut **tx)
        .await
        .doing(|| format!("removing the endpoints of network {}", network.short()))?;
    Ok(())
}

/// All endpoints.
pub async fn endpoints(inventory: &Inventory) -> Result<Vec<Attachment>> {
    let doing = || "reading the endpoints".to_owned();
    let rows = sqlx::query("select attachment from endpoints order by rowid").fetch_all(inventory.reader()).await.doing(doing)?;
    rows.iter().map(|row| serde_json::from_str(row.try_get("attachment").doing(doing)?).doing(doing)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ContainerId;

    #[tokio::test]
    async fn rows_come_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let inventory = Inventory::open(&dir.path().join("db")).await.unwrap();
        let mut tx = inventory.begin().await.unwrap();
        sqlx::query("insert into tenants (id, name, kind, created) values (1, 'a', 'team', 0)").execute(&mut *tx).await.unwrap();
        let row = NetworkRow {
            id: NetworkId::random(),
            tenant: TenantId(1),
            ifname: "br".to_owned(),
            predefined: false,
            spec: NetworkSpec { name: "net".to_owned(), driver: "bridge".to_owned(), ..Default::default() },
            chosen: true,
            created: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
        };
        insert(&mut tx, &row).await.unwrap();
        assert!(insert(&mut tx, &NetworkRow { id: NetworkId::random(), ..row.clone() }).await.is_err(), "one name, one network");
        let attachment = Attachment {
            endpoint: EndpointId::random(),
            tenant: TenantId(1),
            network: row.id.clone(),
            container: ContainerId::random(),
            name: "web".to_owned(),
            ifname: "eth0".to_owned(),
            host_ifname: "veth".to_owned(),
            ipv4: Some(([10, 0, 0, 2].into(), 24)),
            ipv6: None,
            gateway4: None,
            gateway6: None,
            mac_address: "02:42:0a:00:00:02".to_owned(),
            gateway_priority: 0,
            dns_names: vec!["web".to_owned()],
            links: Default::default(),
            ports: Vec::new(),
            listeners: Vec::new(),
            link_local: Vec::new(),
            sysctls: Vec::new(),
        };
        put_endpoint(&mut tx, &attachment).await.unwrap();
        let renamed = Attachment { name: "api".to_owned(), ..attachment };
        put_endpoint(&mut tx, &renamed).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(all(&inventory).await.unwrap(), std::slice::from_ref(&row));
        assert_eq!(endpoints(&inventory).await.unwrap(), std::slice::from_ref(&renamed));
        let mut tx = inventory.begin().await.unwrap();
        delete_endpoints(&mut tx, &[renamed.endpoint]).await.unwrap();
        delete(&mut tx, &row.id).await.unwrap();
        tx.commit().await.unwrap();
        assert!(all(&inventory).await.unwrap().is_empty() && endpoints(&inventory).await.unwrap().is_empty());
    }
}
