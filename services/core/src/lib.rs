//! The values vx speaks of and the traits of its services: no I/O, no runtime, no wire format.
//!
//! Every other crate depends on this one, so it holds only what at least two of them share.

pub mod action;
pub mod digest;
pub mod error;
pub mod key;
pub mod orchestrator;
pub mod path;
pub mod places;
pub mod readset;
pub mod result;
pub mod service;
pub mod size;
pub mod stamp;
pub mod tree;

pub use action::{
    ActionSpec, CheckoutMode, CheckoutMount, Collect, CollectForm, Execution, Exit, FileInput,
    HostEnd, HostProgram, Ingested, MAX_MARKERS, Marked, Marker, MarkerScope, MessageFormat,
    OutputStream, PackageFormat, PackageInput, PackageSource, TreeInput, Watch,
};
pub use digest::{Blob, Digest, Hasher};
pub use error::{ServiceError, ServiceResult};
pub use key::{ActionKey, RecordName, StaticDigest};
pub use path::{PathError, RelPath};
pub use result::{ActionResult, Output, OutputForm};
pub use service::{
    BlobReader, BlobWriter, Executor, ExecutorStatus, GrantId, Holder, Observer, PlaceFile,
    PlaceMode, PlaceOutcome, PlaceRequest, Results, Store, StoreService, StoreStatus,
};
pub use tree::{Tree, TreeEntry, TreeError, TreeNode};
