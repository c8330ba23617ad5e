@0xbc2c6c0413c2f9b3;
# Running actions.

using Values = import "values.capnp";
using Store = import "store.capnp".Store;

struct Variable {
  name @0 :Text;
  value @1 :Text;
}

struct CheckoutMount {
  host @0 :Text;
  hidden @1 :List(Text);
  mode @2 :Mode;
  at @3 :Text;

  enum Mode {
    readOnly @0;
    privateLayer @1;
  }
}

struct PackageInput {
  at @0 :Text;
  archive @1 :Values.Digest;
  format @2 :Format;

  enum Format {
    crate @0;
    tar @1;
  }
}

struct PackageSource {
  path @0 :Text;
  union {
    archive @1 :Text;
    # The SHA-256 it must have, in hex.
    tree @2 :Void;
  }
}

struct Ingested {
  union {
    stored @0 :Values.Blob;
    unreadable @1 :Text;
    mismatch @2 :Text;
  }
}

struct FileInput {
  at @0 :Text;
  digest @1 :Values.Digest;
  size @2 :UInt64;
  executable @3 :Bool;
}

struct TreeInput {
  at @0 :Text;
  tree @1 :Values.Digest;
  watched @2 :Bool;
}

struct Collect {
  at @0 :Text;
  form :union {
    files @1 :Void;
    tree @2 :Text;
  }
}

enum MessageFormat {
  plain @0;
  rustcJson @1;
}

enum OutputStream {
  stdout @0;
  stderr @1;
}

enum Watch {
  nothing @0;
  everything @1;
}

struct ActionSpec {
  label @0 :Text;
  argv @1 :List(Text);
  env @2 :List(Variable);
  cwd @3 :Text;
  toolchain @4 :Text;
  checkout @5 :CheckoutMount;
  # Null where the action does not see the checkout.
  packages @6 :List(PackageInput);
  files @7 :List(FileInput);
  trees @8 :List(TreeInput);
  collect @9 :List(Collect);
  messages @10 :MessageFormat;
  markers @11 :List(Marker);
  watch @12 :Watch;
  hostPaths @13 :List(Text);
  network @14 :Bool;
  realPlaces @15 :List(Text);
  base @16 :Text;
  # Empty where the executor isolates.
}

struct Marker {
  text @0 :Text;
  within @1 :Scope;
  bitcode @2 :Bool;

  enum Scope {
    everything @0;
    compiled @1;
  }
}

struct Marked {
  output @0 :Text;
  marker @1 :UInt8;
}

struct ReadPlace {
  union {
    checkout @0 :Text;
    cargoHome @1 :Text;
    toolchain @2 :Text;
    host @3 :Text;
    given @4 :Text;
  }
}

struct Observed {
  union {
    absent @0 :Void;
    content @1 :Values.Digest;
    listing @2 :Values.Digest;
    tree @3 :Values.Digest;
    kind @4 :Text;
    file :group {
      size @5 :UInt64;
      executable @6 :Bool;
    }
    link @7 :Text;
    special @8 :Void;
  }
}

struct Sight {
  place @0 :ReadPlace;
  kind @1 :Kind;
  seen :union {
    absent @2 :Void;
    file @3 :Int64;
    # The later of its times, in nanoseconds since the epoch.
    directory @4 :Int64;
    # The same.
    link @5 :Int64;
    # The same.
    other @6 :Void;
  }
  before @7 :Observed;
  # Null where the action did not change it.

  enum Kind {
    content @0;
    listing @1;
    tree @2;
    existence @3;
    metadata @4;
    link @5;
  }
}

struct Trace {
  sights @0 :List(Sight);
  incomplete @1 :Text;
  # Empty where nothing is missing.
  wrote @2 :List(Text);
  unsteady @3 :Text;
  # Empty where every path was the same thing each time.
  changed @4 :List(ReadPlace);
  reachedFor @5 :Text;
  # Empty where it used no network.
  missed @6 :List(Text);
}

struct Outcome {
  union {
    ran :group {
      exit :union {
        code @0 :Int32;
        signal @1 :Int32;
      }
      outputs @2 :List(Values.Output);
      durationNanoseconds @3 :UInt64;
      marked @4 :List(Marked);
      trace @7 :Trace;
      # Null where none was asked for.
    }
    inputsMissing @5 :List(Values.Digest);
    unable @6 :Text;
  }
}

interface Observer {
  wrote @0 (stream :OutputStream, bytes :Data) -> ();
  stored @1 (output :Values.Output) -> ();
}

interface Execution {
  # An action under way; dropping it cancels the action.
  wait @0 () -> (outcome :Outcome);
}

struct HostProgram {
  argv @0 :List(Text);
  env @1 :List(Variable);
  cwd @2 :Text;
  nobodys @3 :List(Text);
}

struct HostEnd {
  union {
    ran :group {
      exit :union {
        code @0 :Int32;
        signal @1 :Int32;
      }
      trace @2 :Trace;
    }
    unable @3 :Text;
  }
}

interface HostRun {
  # A program under way on the host; dropping it kills the program.
  wait @0 () -> (end :HostEnd);
}

interface Executor {
  execute @0 (action :ActionSpec, store :Store, observer :Observer) -> (execution :Execution);
  status @1 () -> (status :Values.ExecutorStatus);
  ingest @2 (source :PackageSource, store :Store) -> (ingested :Ingested);
  runOnHost @3 (program :HostProgram, observer :Observer) -> (running :HostRun);
}
