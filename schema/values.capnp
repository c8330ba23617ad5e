@0xfc294117da82c075;
# Values that more than one interface speaks of. They mirror the types of vx-core.

struct Digest {
  # A BLAKE3 digest: its 32 bytes as four little-endian words, so that lists of digests are
  # flat.
  a @0 :UInt64;
  b @1 :UInt64;
  c @2 :UInt64;
  d @3 :UInt64;
}

struct Blob {
  digest @0 :Digest;
  size @1 :UInt64;
}

struct Output {
  name @0 :Text;
  blob @1 :Blob;
  form :union {
    file :group {
      executable @2 :Bool;
    }
    tree @3 :Void;
  }
}

struct ActionResult {
  outputs @0 :List(Output);
  payload @1 :Data;
  unisolated @2 :Bool;
}

struct StoreStatus {
  directory @0 :Text;
  blobs @1 :UInt64;
  bytes @2 :UInt64;
  limit @3 :UInt64;
  results @4 :UInt64;
  grants @5 :UInt64;
  setAside @6 :UInt64;
  linked @7 :UInt64;
  copied @8 :UInt64;
  acceptsUnisolated @9 :Bool;
}

struct ExecutorStatus {
  running @0 :UInt64;
  executed @1 :UInt64;
  slots @2 :UInt64;
  isolationFault @3 :Text;
  directBytes @4 :UInt64;
  relayedBytes @5 :UInt64;
  placedBytes @6 :UInt64;
  baseDirectory @7 :Text;
  traceFault @8 :Text;
}
