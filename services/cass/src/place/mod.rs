//! Placing: files of a holder's on the same host, without a byte crossing a socket.
//!
//! Fault policy. Content is verified before it is placed, by its stamp or by hashing it, and a
//! copy that raced with a change of its source is hashed itself. A blob that is missing or
//! damaged makes the whole request [`PlaceOutcome::Missing`]; a directory that can't be
//! reached, or a holder that is not served, is [`PlaceOutcome::Unavailable`], and the holder
//! reads in place of it. Whatever goes wrong on the way, what was made is removed again. A
//! hard link is made only of what the holder said will be seen through read-only mounts, never
//! of an executable: links share their mode.

mod file;
mod target;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use vx_core::{Digest, Holder, PlaceFile, PlaceOutcome, PlaceRequest, ServiceError, ServiceResult};

use crate::limits::{MAX_PLACE_FILES, PLACE_WORKERS};
use crate::shared::{Shared, lock};
use crate::state::Grant;

use self::file::Placed;
use self::target::{Refusal, Target, split};

/// A request under way, shared by the workers that carry it out.
struct Work {
    target: Target,
    files: Vec<PlaceFile>,
    made: Vec<AtomicBool>,
    next: AtomicUsize,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    linked: u64,
    copied: u64,
    missing: Vec<Digest>,
    fault: Option<ServiceError>,
}

/// Puts files into a directory of the holder's.
pub(crate) async fn place(
    shared: &Arc<Shared>,
    grant: &Arc<Grant>,
    holder: Holder,
    request: PlaceRequest,
) -> ServiceResult<PlaceOutcome> {
    let unavailable = |why: &str| Ok(PlaceOutcome::Unavailable(why.to_owned()));
    if !shared.config.placing {
        return unavailable("placing is switched off");
    }
    match holder {
        Holder::Local { uid } if uid == shared.user => {}
        Holder::Local { .. } => return unavailable("the store runs as another user"),
        Holder::Remote => return unavailable("the holder is not on the store's host"),
    }
    if request.files.len() > MAX_PLACE_FILES {
        return Err(ServiceError::Invalid(format!(
            "{} files to place, over the limit of {MAX_PLACE_FILES}",
            request.files.len()
        )));
    }
    let missing = hold(shared, grant, &request.files);
    if !missing.is_empty() {
        return Ok(PlaceOutcome::Missing(missing));
    }
    let opened = {
        let shared = Arc::clone(shared);
        let opening = Arc::clone(&shared);
        shared.pool.run(move || start(&opening, request)).await?
    };
    let work = match opened {
        Ok(work) => Arc::new(work),
        Err(Refusal::Unavailable(why)) => return Ok(PlaceOutcome::Unavailable(why)),
        Err(Refusal::Error(error)) => return Err(error),
    };
    let workers = work.files.len().div_ceil(8).min(PLACE_WORKERS);
    let mut answers = Vec::with_capacity(workers);
    for _ in 0..workers {
        let (shared, work) = (Arc::clone(shared), Arc::clone(&work));
        let pool = Arc::clone(&shared);
        answers.push(pool.pool.submit(move || carry_out(&shared, &work)).await?);
    }
    for mut answer in answers {
        answer.wait().await?;
    }
    let (finishing, grant) = (Arc::clone(shared), Arc::clone(grant));
    shared
        .pool
        .run(move || finish(&finishing, &grant, &work))
        .await?
}

/// Holds every blob of the files; gives those that are missing, each once.
fn hold(shared: &Shared, grant: &Grant, files: &[PlaceFile]) -> Vec<Digest> {
    let mut state = shared.state();
    let mut seen = HashSet::with_capacity(files.len());
    files
        .iter()
        .map(|file| file.digest)
        .filter(|digest| seen.insert(*digest) && !state.use_blob(digest, grant.id))
        .collect()
}

fn start(shared: &Shared, request: PlaceRequest) -> Result<Work, Refusal> {
    let store = shared.directory.path.to_string_lossy();
    let mut target = Target::open(&request.directory, shared.user, &store)?;
    let mut files = request.files;
    // Neighbours share their parent, which is then opened once.
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let twice = files
        .windows(2)
        .find(|pair| pair[0].path == pair[1].path)
        .map(|pair| &pair[0]);
    if let Some(bad) = twice.or(files.iter().find(|file| file.path.is_empty())) {
        return Err(ServiceError::Invalid(format!(
            "{:?} can't be placed: it has no name, or is named twice",
            bad.path
        ))
        .into());
    }
    if let Err(error) = target.make_directories(&files) {
        target.clear(std::iter::empty());
        return Err(error.into());
    }
    Ok(Work {
        target,
        made: files.iter().map(|_| AtomicBool::new(false)).collect(),
        files,
        next: AtomicUsize::new(0),
        progress: Mutex::default(),
    })
}

/// One worker's share: files as long as there are any and none has failed.
fn carry_out(shared: &Shared, work: &Work) {
    let mut parent = None;
    loop {
        let number = work.next.fetch_add(1, Ordering::Relaxed);
        let Some(file) = work.files.get(number) else {
            return;
        };
        let (path, name) = split(&file.path);
        let directory = match &parent {
            Some((open, directory)) if *open == path => directory,
            _ => match work.target.directory(&path) {
                Ok(directory) => &parent.insert((path, directory)).1,
                Err(error) => {
                    let fault = ServiceError::Failed(format!(
                        "the directory of {} can't be opened: {error}",
                        file.path
                    ));
                    return stop(work, fault);
                }
            },
        };
        let placed = file::place(shared, file, directory, name, &work.made[number]);
        let mut progress = lock(&work.progress);
        match placed {
            Ok(Placed::Linked(size)) => progress.linked += size,
            Ok(Placed::Copied(size)) => progress.copied += size,
            // The others are still looked at, so that all that is missing is told at once.
            Ok(Placed::Missing) => progress.missing.push(file.digest),
            Err(fault) => {
                drop(progress);
                return stop(work, fault);
            }
        }
    }
}

fn stop(work: &Work, fault: ServiceError) {
    work.next.store(work.files.len(), Ordering::Relaxed);
    lock(&work.progress).fault.get_or_insert(fault);
}

fn finish(shared: &Shared, grant: &Grant, work: &Work) -> ServiceResult<PlaceOutcome> {
    let progress = std::mem::take(&mut *lock(&work.progress));
    let outcome = if let Err(revoked) = grant.check() {
        Err(revoked)
    } else if let Some(fault) = progress.fault {
        Err(fault)
    } else if progress.missing.is_empty() {
        work.target
            .finish()
            .map(|()| PlaceOutcome::Placed {
                linked: progress.linked,
                copied: progress.copied,
            })
            .map_err(|error| {
                ServiceError::Failed(format!("a directory's time can't be set: {error}"))
            })
    } else {
        Ok(PlaceOutcome::Missing(crate::results::once(
            progress.missing,
        )))
    };
    if let Ok(PlaceOutcome::Placed { linked, copied }) = outcome {
        shared.counters.linked.fetch_add(linked, Ordering::Relaxed);
        shared.counters.copied.fetch_add(copied, Ordering::Relaxed);
    } else {
        let made = work
            .files
            .iter()
            .zip(&work.made)
            .filter(|(_, made)| made.load(Ordering::Relaxed));
        work.target.clear(made.map(|(file, _)| &file.path));
    }
    shared.keeper.wake();
    outcome
}
