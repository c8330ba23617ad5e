@0xef1be34e15a6d5fa;
# The content-addressed store, as its holders see it.

using Values = import "values.capnp";

interface ByteSink {
  # Where a blob that is read goes. One object per blob.
  write @0 (bytes :Data) -> stream;
  done @1 () -> ();
  # Everything was written.
  fail @2 (reason :Text) -> ();
  # The rest can't be had; an encoded service error.
}

interface BlobSink {
  # Where a blob that is stored comes in. One object per blob; dropping it before `done`
  # leaves nothing behind.
  write @0 (bytes :Data) -> stream;
  done @1 () -> (blob :Values.Blob);
}

interface Reading {
  # A blob on its way out; dropping it stops the stream.
}

struct PlaceFile {
  path @0 :Text;
  digest @1 :Values.Digest;
  executable @2 :Bool;
  mode @3 :PlaceMode;
}

enum PlaceMode {
  sharedReadOnly @0;
  independent @1;
}

struct SmallBlob {
  union {
    missing @0 :Void;
    bytes @1 :Data;
  }
}

interface Store {
  # What an executor may hold: content by digest, under a grant.

  missing @0 (digests :List(Values.Digest)) -> (missing :List(Values.Digest));

  read @1 (digest :Values.Digest, offset :UInt64, sink :ByteSink) -> (outcome :ReadOutcome);
  # Returns as soon as the blob is found; its bytes go to the sink afterwards.

  write @2 () -> (sink :BlobSink);

  readSmall @3 (digests :List(Values.Digest)) -> (blobs :List(SmallBlob));
  # Answers for as many of the first digests as fit a message, at least one; the caller asks
  # again for the others.

  writeSmall @4 (blobs :List(Data)) -> (digests :List(Values.Digest));

  place @5 (directory :Text, files :List(PlaceFile)) -> (outcome :PlaceOutcome);

  introduce @6 () -> (introduction :Introduction);
  # How to reach this very capability over a connection of one's own.

  struct ReadOutcome {
    union {
      missing @0 :Void;
      found :group {
        size @1 :UInt64;
        reading @2 :Reading;
      }
    }
  }

  struct PlaceOutcome {
    union {
      placed :group {
        linked @0 :UInt64;
        copied @1 :UInt64;
      }
      missing @2 :List(Values.Digest);
      unavailable @3 :Text;
    }
  }
}

struct Introduction {
  endpoint @0 :Text;
  # Where the service listens.
  instance @1 :Text;
  # Its `Hello.instance`: anyone else there is not meant.
  secret @2 :Data;
  # For `Bootstrap.redeem`: good once, for a short time, while the grant lives.
}

struct MaybeResult {
  union {
    none @0 :Void;
    some @1 :Values.ActionResult;
  }
}

interface Results {
  # What was done, by key: what only orchestrators hold.

  lookup @0 (keys :List(Values.Digest)) -> (results :List(MaybeResult));
  # Answers for as many of the first keys as fit a message, at least one.

  publish @1 (key :Values.Digest, result :Values.ActionResult)
      -> (standing :Values.ActionResult);

  records @2 (names :List(Values.Digest), skip :UInt32)
      -> (lists :List(List(Data)), partial :Bool);
  # Answers for as many of the first names as fit a message, at least one. `skip` leaves out
  # that many records of the first name; `partial` says that the last list goes on.

  record @3 (name :Values.Digest, record :Data) -> ();

  claim @4 (name :Values.Digest, waitMilliseconds :UInt64) -> (claimed :Bool);

  release @5 (name :Values.Digest) -> ();
}

interface Grant {
  # Keeps a Store, its Results, and every secret that came of them alive. Dropping it ends
  # them all.
}

interface Cass {
  grant @0 (label :Text) -> (grant :Grant, store :Store, results :Results);
  status @1 () -> (status :Values.StoreStatus);
}
