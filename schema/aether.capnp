@0xe867007496cd0437;
# Asking for builds.

using Values = import "values.capnp";

struct Entry {
  name @0 :Text;
  value @1 :Text;
}

struct OptionalText {
  union {
    none @0 :Void;
    some @1 :Text;
  }
}

struct Selection {
  manifestPath @0 :OptionalText;
  packages @1 :List(Text);
  workspace @2 :Bool;
  exclude @3 :List(Text);
  lib @4 :Bool;
  bins @5 :Bool;
  bin @6 :List(Text);
  examples @7 :Bool;
  example @8 :List(Text);
  features @9 :List(Text);
  allFeatures @10 :Bool;
  noDefaultFeatures @11 :Bool;
  profile @12 :OptionalText;
  release @13 :Bool;
  target @14 :List(Text);
  locked @15 :Bool;
  offline @16 :Bool;
  frozen @17 :Bool;
}

struct BuildRequest {
  cwd @0 :Text;
  env @1 :List(Entry);
  umask @2 :UInt32;
  selection @3 :Selection;
  jobs :union {
    automatic @4 :Void;
    atMost @5 :UInt32;
  }
  keepGoing @6 :Bool;
  settings @7 :List(Entry);
  verify @8 :Bool;
}

enum ActionOutcome {
  hit @0;
  built @1;
  waited @2;
  failed @3;
  skipped @4;
}

enum MessageLevel {
  rendered @0;
  warning @1;
  error @2;
  status @3;
  verbose @4;
}

struct BuildEvent {
  union {
    planned :group {
      actions @0 :UInt64;
    }
    started :group {
      action @1 :UInt64;
      package @2 :Text;
      unit @3 :Text;
      announce @4 :Bool;
    }
    finished :group {
      action @5 :UInt64;
      outcome @6 :ActionOutcome;
    }
    message :group {
      level @7 :MessageLevel;
      text @8 :Text;
    }
  }
}

struct Executable {
  name @0 :Text;
  kind @1 :Text;
  package @2 :Text;
  path @3 :Text;
  defaultRun @4 :OptionalText;
}

struct Totals {
  actions @0 :UInt64;
  hit @1 :UInt64;
  built @2 :UInt64;
  waited @3 :UInt64;
  failed @4 :UInt64;
  skipped @5 :UInt64;
}

struct BuildOutcome {
  result :union {
    success @0 :Void;
    actionsFailed @1 :List(Text);
    request @2 :Text;
    engine @3 :Text;
  }
  profile @4 :Text;
  executables @5 :List(Executable);
  report @6 :Text;
  durationNanoseconds @7 :UInt64;
  totals @8 :Totals;
}

struct OrchestratorStatus {
  pid @0 :UInt32;
  builds @1 :UInt64;
  uptimeSeconds @2 :UInt64;
  storeEndpoint @3 :Text;
  store @4 :Values.StoreStatus;
  # Null where it could not be asked.
  executorEndpoint @5 :Text;
  executor @6 :Values.ExecutorStatus;
  # Null where it could not be asked.
}

interface BuildObserver {
  event @0 (event :BuildEvent) -> ();
}

interface Build {
  # A build under way; dropping it cancels the build.
  wait @0 () -> (outcome :BuildOutcome);
}

interface Aether {
  build @0 (request :BuildRequest, observer :BuildObserver) -> (build :Build);
  locate @1 (request :BuildRequest) -> (workspace :Text);
  clean @2 (request :BuildRequest) -> (workspace :Text);
  status @3 () -> (status :OrchestratorStatus);
  stop @4 () -> ();
  plan @5 (request :BuildRequest, fresh :Bool) -> (json :Text);
}
