//! Tables of images, names, layers and blobs.

use super::{Inventory, Tx};
use crate::{Digest, Doing, Result, TenantId};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// A tenant's image.
#[derive(Debug, Clone)]
pub struct ImageRow {
    /// Digest of `config`.
    pub id: Digest,
    /// The raw configuration.
    pub config: String,
    /// The raw manifest it came or went with.
    pub manifest: Option<String>,
    /// The image it was made from.
    pub parent: Option<Digest>,
    /// When it came here.
    pub added: Timestamp,
    /// When it last got a name.
    pub last_tagged: Option<Timestamp>,
    /// Removed by force, kept for a container.
    pub hidden: bool,
    /// Its layers, lowest first.
    pub layers: Vec<LayerRow>,
    /// (whole repository, tag).
    pub names: Vec<(String, String)>,
    /// (whole repository, manifest digest).
    pub digests: Vec<(String, Digest)>,
}

/// A layer as part of an image.
#[derive(Debug, Clone)]
pub struct LayerRow {
    /// Row of `layers`.
    pub layer: i64,
    /// Digest of its tar.
    pub diff_id: Digest,
    /// Its folder's name under `layers/`.
    pub folder: String,
    /// Bytes of its files.
    pub size: u64,
    /// Its packed form in the content store.
    pub blob: Digest,
    /// Bytes of that.
    pub blob_size: u64,
}

fn doing() -> String {
    "reading images from the database".to_owned()
}

fn writing() -> String {
    "writing images to the database".to_owned()
}

fn text(row: &SqliteRow, column: &str) -> Result<String> {
    row.try_get(column).doing(doing)
}

fn number(row: &SqliteRow, column: &str) -> Result<i64> {
    row.try_get(column).doing(doing)
}

fn size(row: &SqliteRow, column: &str) -> Result<u64> {
    Ok(u64::try_from(number(row, column)?).unwrap_or(0))
}

fn digest(row: &SqliteRow, column: &str) -> Result<Digest> {
    text(row, column)?.parse()
}

fn time(milliseconds: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(milliseconds).doing(doing)
}

impl Inventory {
    /// All of a tenant's images, hidden ones too, newest first.
    pub async fn images(&self, tenant: TenantId) -> Result<Vec<ImageRow>> {
        let db = self.reader();
        let mut images = Vec::new();
        let rows = sqlx::query("select id, config, manifest, parent, added, last_tagged, hidden from images where tenant = ?");
        for row in rows.bind(tenant.0).fetch_all(db).await.doing(doing)? {
            images.push(ImageRow {
                id: digest(&row, "id")?,
                config: text(&row, "config")?,
                manifest: row.try_get("manifest").doing(doing)?,
                parent: row.try_get::<Option<String>, _>("parent").doing(doing)?.map(|p| p.parse()).transpose()?,
                added: time(number(&row, "added")?)?,
                last_tagged: row.try_get::<Option<i64>, _>("last_tagged").doing(doing)?.map(time).transpose()?,
                hidden: number(&row, "hidden")? != 0,
                layers: Vec::new(),
                names: Vec::new(),
                digests: Vec::new(),
            });
        }
        images.sort_by_key(|i| i.id);
        let find = |images: &[ImageRow], id: Digest| images.binary_search_by(|i| i.id.cmp(&id)).ok();
        let rows = sqlx::query(
            "select i.image, i.layer, l.diff_id, l.folder, l.size, i.blob, b.size as blob_size
             from image_layers i join layers l on l.id = i.layer join blobs b on b.digest = i.blob
             where i.tenant = ? order by i.image, i.position",
        );
        for row in rows.bind(tenant.0).fetch_all(db).await.doing(doing)? {
            if let Some(at) = find(&images, digest(&row, "image")?) {
                images[at].layers.push(LayerRow {
                    layer: number(&row, "layer")?,
                    diff_id: digest(&row, "diff_id")?,
                    folder: text(&row, "folder")?,
                    size: size(&row, "size")?,
                    blob: digest(&row, "blob")?,
                    blob_size: size(&row, "blob_size")?,
                });
            }
        }
        let rows = sqlx::query("select repository, tag, image from image_names where tenant = ? order by repository, tag");
        for row in rows.bind(tenant.0).fetch_all(db).await.doing(doing)? {
            if let Some(at) = find(&images, digest(&row, "image")?) {
                images[at].names.push((text(&row, "repository")?, text(&row, "tag")?));
            }
        }
        let rows = sqlx::query("select repository, digest, image from image_digests where tenant = ? order by repository, digest");
        for row in rows.bind(tenant.0).fetch_all(db).await.doing(doing)? {
            if let Some(at) = find(&images, digest(&row, "image")?) {
                images[at].digests.push((text(&row, "repository")?, digest(&row, "digest")?));
            }
        }
        Ok(images)
    }

    /// The first host uid of a tenant's block.
    pub async fn uid_base(&self, tenant: TenantId) -> Result<u32> {
        let row = sqlx::query("select base from uid_blocks where tenant = ? and purpose = 'tenant'")
            .bind(tenant.0)
            .fetch_one(self.reader())
            .await;
        let base = number(&row.doing(|| format!("looking up the ids of tenant {tenant}"))?, "base")?;
        u32::try_from(base).doing(|| format!("reading the ids of tenant {tenant}"))
    }

    /// What is inside a blob (its diff id and size), if `tenant` may see it.
    pub async fn visible_blob(&self, tenant: TenantId, blob: &Digest) -> Result<Option<(Digest, u64)>> {
        let row = sqlx::query(
            "select diff_id, size from blobs where digest = ?1
             and exists (select 1 from blob_scopes s where s.digest = ?1 and s.scope in (0, ?2))",
        );
        let row = row.bind(blob.to_string()).bind(tenant.0).fetch_optional(self.reader()).await.doing(doing)?;
        row.map(|row| Ok((digest(&row, "diff_id")?, size(&row, "size")?))).transpose()
    }

    /// The unpacked layer with these contents, if `tenant` may see one: (row, folder).
    pub async fn visible_layer(&self, tenant: TenantId, diff_id: &Digest) -> Result<Option<(i64, String)>> {
        let row = sqlx::query("select id, folder from layers where diff_id = ? and scope in (0, ?) order by scope limit 1");
        let row = row.bind(diff_id.to_string()).bind(tenant.0).fetch_optional(self.reader()).await.doing(doing)?;
        row.map(|row| Ok((number(&row, "id")?, text(&row, "folder")?))).transpose()
    }

    /// A layer's folder and bytes.
    pub async fn layer_folder(&self, id: i64) -> Result<(String, u64)> {
        let row = sqlx::query("select folder, size from layers where id = ?").bind(id).fetch_one(self.reader()).await.doing(doing)?;
        Ok((text(&row, "folder")?, size(&row, "size")?))
    }

    /// Folders of all layers and digests of all blobs: what is on disk beside them is rubbish.
    pub async fn stored_content(&self) -> Result<(Vec<String>, Vec<Digest>)> {
        let layers = sqlx::query("select folder from layers").fetch_all(self.reader()).await.doing(doing)?;
        let blobs = sqlx::query("select digest from blobs").fetch_all(self.reader()).await.doing(doing)?;
        Ok((
            layers.iter().map(|row| text(row, "folder")).collect::<Result<_>>()?,
            blobs.iter().map(|row| digest(row, "digest")).collect::<Result<_>>()?,
        ))
    }
}

/// Notes a blob that is in the content store, and who may see it.
pub async fn put_blob(tx: &mut Tx, blob: &Digest, diff_id: &Digest, size: u64, scope: i64) -> Result<()> {
    sqlx::query("insert into blobs (digest, diff_id, size) values (?, ?, ?) on conflict do nothing")
        .bind(blob.to_string())
        .bind(diff_id.to_string())
        .bind(i64::try_from(size).unwrap_or(i64::MAX))
        .execute(&mut **tx)
        .await
        .doing(writing)?;
    sqlx::query("insert into blob_scopes (digest, scope) values (?, ?) on conflict do nothing")
        .bind(blob.to_string())
        .bind(scope)
        .execute(&mut **tx)
        .await
        .doing(writing)?;
    Ok(())
}

/// Notes an unpacked layer. Another that came first stays: the answer tells whether it is ours.
pub async fn put_layer(tx: &mut Tx, diff_id: &Digest, scope: i64, folder: &str, size: u64) -> Result<(i64, bool)> {
    let done = sqlx::query("insert into layers (diff_id, scope, folder, size) values (?, ?, ?, ?) on conflict (diff_id, scope) do nothing")
        .bind(diff_id.to_string())
        .bind(scope)
        .bind(folder)
        .bind(i64::try_from(size).unwrap_or(i64::MAX))
        .execute(&mut **tx)
        .await
        .doing(writing)?;
    let row = sqlx::query("select id from layers where diff_id = ? and scope = ?")
        .bind(diff_id.to_string())
        .bind(scope)
        .fetch_one(&mut **tx)
        .await
        .doing(doing)?;
    Ok((number(&row, "id")?, done.rows_affected() == 1))
}

/// An image to write.
#[derive(Debug)]
pub struct NewImageRow<'a> {
    /// Digest of `config`.
    pub id: Digest,
    /// The raw configuration.
    pub config: &'a str,
    /// The raw manifest, where there is one.
    pub manifest: Option<&'a str>,
    /// The image it was made from.
    pub parent: Option<Digest>,
    /// (row of `layers`, blob), lowest first.
    pub layers: &'a [(i64, Digest)],
}

/// Writes an image, or shows it again if it was hidden.
pub async fn put_image(tx: &mut Tx, tenant: TenantId, image: &NewImageRow<'_>) -> Result<()> {
    sqlx::query(
        "insert into images (tenant, id, config, manifest, parent, added) values (?, ?, ?, ?, ?, ?)
         on conflict do update set hidden = 0, manifest = coalesce(excluded.manifest, manifest), parent = coalesce(excluded.parent, parent)",
    )
    .bind(tenant.0)
    .bind(image.id.to_string())
    .bind(image.config)
    .bind(image.manifest)
    .bind(image.parent.map(|p| p.to_string()))
    .bind(Timestamp::now().as_millisecond())
    .execute(&mut **tx)
    .await
    .doing(writing)?;
    for (position, (layer, blob)) in image.layers.iter().enumerate() {
        // The manifest names these blobs; older ones with the same contents may go.
        sqlx::query(
            "insert into image_layers (tenant, image, position, layer, blob) values (?, ?, ?, ?, ?)
             on conflict do update set blob = excluded.blob",
        )
        .bind(tenant.0)
        .bind(image.id.to_string())
        .bind(i64::try_from(position).unwrap_or(i64::MAX))
        .bind(layer)
        .bind(blob.to_string())
        .execute(&mut **tx)
        .await
        .doing(writing)?;
    }
    Ok(())
}

/// Points a name to an image, now; returns the one it pointed to.
pub async fn put_name(tx: &mut Tx, tenant: TenantId, repository: &str, tag: &str, image: &Digest) -> Result<Option<Digest>> {
    let before = put_loaded_name(tx, tenant, repository, tag, image).await?;
    sqlx::query("update images set last_tagged = ? where tenant = ? and id = ?")
        .bind(Timestamp::now().as_millisecond())
        .bind(tenant.0)
        .bind(image.to_string())
        .execute(&mut **tx)
        .await
        .doing(writing)?;
    Ok(before)
}

/// The same for a name that came with an archive: nobody tagged anything.
pub async fn put_loaded_name(tx: &mut Tx, tenant: TenantId, repository: &str, tag: &str, image: &Digest) -> Result<Option<Digest>> {
    let before = sqlx::query("select image from image_names where tenant = ? and repository = ? and tag = ?")
        .bind(tenant.0)
        .bind(repository)
        .bind(tag)
        .fetch_optional(&mut **tx)
        .await
        .doing(doing)?;
    sqlx::query(
        "insert into image_names (tenant, repository, tag, image) values (?, ?, ?, ?) on conflict do update set image = excluded.image",
    )
    .bind(tenant.0)
    .bind(repository)
    .bind(tag)
    .bind(image.to_string())
    .execute(&mut **tx)
    .await
    .doing(writing)?;
    sqlx::query("update images set hidden = 0 where tenant = ? and id = ?")
        .bind(tenant.0)
        .bind(image.to_string())
        .execute(&mut **tx)
        .await
        .doing(writing)?;
    before.map(|row| digest(&row, "image")).transpose()
}

/// Remembers under which manifest digest a repository has an image.
pub async fn put_digest(tx: &mut Tx, tenant: TenantId, repository: &str, manifest: &Digest, image: &Digest) -> Result<()> {
    sqlx::query(
        "insert into image_digests (tenant, repository, digest, image) values (?, ?, ?, ?) on conflict do update set image = excluded.image",
    )
    .bind(tenant.0)
    .bind(repository)
    .bind(manifest.to_string())
    .bind(image.to_string())
    .execute(&mut **tx)
    .await
    .doing(writing)?;
    Ok(())
}

/// Forgets a name.
pub async fn drop_name(tx: &mut Tx, tenant: TenantId, repository: &str, tag: &str) -> Result<()> {
    sqlx::query("delete from image_names where tenant = ? and repository = ? and tag = ?")
        .bind(tenant.0)
        .bind(repository)
        .bind(tag)
        .execute(&mut **tx)
        .await
        .doing(writing)?;
    Ok(())
}

/// Forgets a digest.
pub async fn drop_digest(tx: &mut Tx, tenant: TenantId, repository: &str, manifest: &Digest) -> Result<()> {
    sqlx::query("delete from image_digests where tenant = ? and repository = ? and digest = ?")
        .bind(tenant.0)
        .bind(repository)
        .bind(manifest.to_string())
        .execute(&mut **tx)
        .await
        .doing(writing)?;
    Ok(())
}

/// Removes an image with its names, and what is remembered of its build by the classic builder. `keep`: a container still needs
/// its layers.
pub async fn drop_image(tx: &mut Tx, tenant: TenantId, image: &Digest, keep: bool) -> Result<()> {
    super::builds::forget_of_image(tx, tenant, image).await?;
    for statement in [
        "delete from image_names where tenant = ? and image = ?",
        "delete from image_digests where tenant = ? and image = ?",
        if keep { "update images set hidden = 1 where tenant = ? and id = ?" } else { "delete from images where tenant = ? and id = ?" },
    ] {
        sqlx::query(statement).bind(tenant.0).bind(image.to_string()).execute(&mut **tx).await.doing(writing)?;
    }
    Ok(())
}

/// The hidden images of all tenants.
pub async fn hidden_images(tx: &mut Tx) -> Result<Vec<(TenantId, Digest)>> {
    let rows = sqlx::query("select tenant, id from images where hidden = 1").fetch_all(&mut **tx).await.doing(doing)?;
    rows.iter().map(|row| Ok((TenantId(number(row, "tenant")?), digest(row, "id")?))).collect()
}

/// Layers and blobs that no image has any more, taken out of the books: folders, digests, bytes.
pub async fn drop_unused(tx: &mut Tx) -> Result<(Vec<String>, Vec<Digest>, u64)> {
    let layers = sqlx::query(
        "delete from layers where id not in (select layer from image_layers)
         and id not in (select layer from build_steps where layer is not null) returning folder, size",
    )
    .fetch_all(&mut **tx)
    .await
    .doing(writing)?;
    let blobs = sqlx::query(
        "delete from blobs where digest not in (select blob from image_layers)
         and digest not in (select blob from build_steps where blob is not null) returning digest, size",
    )
    .fetch_all(&mut **tx)
    .await
    .doing(writing)?;
    let mut bytes = 0;
    for row in layers.iter().chain(&blobs) {
        bytes += size(row, "size")?;
    }
    Ok((
        layers.iter().map(|row| text(row, "folder")).collect::<Result<_>>()?,
        blobs.iter().map(|row| digest(row, "digest")).collect::<Result<_>>()?,
        bytes,
    ))
}

/// A tenant's images have a layer in another packed form from now on.
pub async fn replace_blob(tx: &mut Tx, tenant: TenantId, old: &Digest, new: &Digest) -> Result<()> {
    sqlx::query("update image_layers set blob = ? where tenant = ? and blob = ?")
        .bind(new.to_string())
        .bind(tenant.0)
        .bind(old.to_string())
        .execute(&mut **tx)
        .await
        .doing(writing)?;
    Ok(())
}

/// Remembers the manifest an image was pushed with.
pub async fn put_manifest(tx: &mut Tx, tenant: TenantId, image: &Digest, manifest: &str) -> Result<()> {
    sqlx::query("update images set manifest = ? where tenant = ? and id = ?")
        .bind(manifest)
        .bind(tenant.0)
        .bind(image.to_string())
        .execute(&mut **tx)
        .await
        .doing(writing)?;
    Ok(())
}
