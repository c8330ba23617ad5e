//! Puts content at its places: made ready beside them, then moved there whole.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_util::task::TaskTracker;
use vx_core::{RelPath, Store};

use super::shelf::{Claim, Content};
use super::stamps::Stamps;
use crate::fault::{Stop, Tried, lost_task};
use crate::fetch::{Sharing, Wanted, bring};
use crate::packages::unpack_in;
use crate::removal::remove;
use crate::stage::{complete_tree, files};

/// Puts everything in place, and gives its stamps, in order, and the bytes placed.
pub(super) async fn put_all(
    temporary: &Path,
    claims: &[Claim],
    store: &Arc<dyn Store>,
) -> Result<(Vec<Stamps>, u64), Stop> {
    let single = temporary.join("files");
    fs::create_dir_all(&single).tried_at("make", &single)?;
    let wanted = claims.iter().enumerate().filter_map(|(index, claim)| {
        let Content::File {
            digest,
            size,
            executable,
        } = claim.content
        else {
            return None;
        };
        Some((index, digest, size, executable))
    });
    let wanted = wanted
        .map(|(index, digest, size, executable)| {
            Ok(Wanted {
                path: name(index)?,
                digest,
                size: Some(size),
                executable,
            })
        })
        .collect::<Result<Vec<_>, Stop>>()?;
    let tasks = TaskTracker::new();
    let mut placed = bring(store, &single, wanted, Sharing::Nothing, &tasks).await?;
    for (index, claim) in claims.iter().enumerate() {
        let ready = temporary.join(index.to_string());
        match &claim.content {
            Content::File { .. } => {}
            Content::Nothing => fs::create_dir(&ready).tried_at("make", &ready)?,
            Content::Package(id) => {
                let (_, bytes) = unpack_in(&ready, *id, store).await?;
                placed += bytes;
            }
            Content::Tree(_) => {
                fs::create_dir(&ready).tried_at("make", &ready)?;
                let tree = claim.tree.clone().unwrap_or_default();
                placed += bring(store, &ready, files(&tree), Sharing::Nothing, &tasks).await?;
                let to = ready.clone();
                let done = tokio::task::spawn_blocking(move || complete_tree(&tree, &to));
                done.await.map_err(|error| lost_task(&error))??;
            }
        }
    }
    let (temporary, claims) = (temporary.to_owned(), claims.to_vec());
    let moved = tokio::task::spawn_blocking(move || {
        let claims = claims.iter().enumerate();
        claims
            .map(|(index, claim)| put(&temporary, index, claim))
            .collect::<Result<Vec<_>, Stop>>()
    });
    Ok((moved.await.map_err(|error| lost_task(&error))??, placed))
}

fn name(index: usize) -> Result<RelPath, Stop> {
    RelPath::new(index.to_string()).map_err(|error| Stop::Unable(error.to_string()))
}

/// Moves what is ready to its place, in place of what lies there, and gives its stamps.
fn put(temporary: &Path, index: usize, claim: &Claim) -> Result<Stamps, Stop> {
    let place = &claim.place;
    let ready = match claim.content {
        Content::File { .. } => temporary.join("files").join(index.to_string()),
        Content::Package(_) => temporary.join(index.to_string()).join("root"),
        Content::Tree(_) | Content::Nothing => temporary.join(index.to_string()),
    };
    if let Some(parent) = place.parent() {
        make_way(parent).tried_at("make", parent)?;
    }
    // A file is replaced at once: a compiler that looks through its directory finds it whole.
    if !matches!(claim.content, Content::File { .. }) || place.is_dir() {
        clear(place).tried_at("remove", place)?;
    }
    fs::rename(&ready, place).tried_at("move", place)?;
    Stamps::take(place).tried_at("look at", place)
}

/// Makes a directory, in place of files that stand in its way.
fn make_way(directory: &Path) -> io::Result<()> {
    if fs::create_dir_all(directory).is_ok() {
        return Ok(());
    }
    for ancestor in directory.ancestors().collect::<Vec<_>>().into_iter().rev() {
        if fs::symlink_metadata(ancestor).is_ok_and(|found| !found.is_dir()) {
            fs::remove_file(ancestor)?;
            break;
        }
    }
    fs::create_dir_all(directory)
}

pub(super) fn clear(place: &Path) -> io::Result<()> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() => remove(place),
        Ok(_) => fs::remove_file(place),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
