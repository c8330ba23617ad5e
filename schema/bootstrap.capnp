@0xf10a3384b2d32f81;
# What every service's socket offers before anything is proved.
#
# This file never changes but by additions at the end: a vx of any build must be able to tell
# a daemon of any other build apart and ask it to leave.

struct Hello {
  # Who someone is.
  service @0 :Text;
  # The program's name, such as `vx-cass`.
  build @1 :Text;
  # The build of vx; two processes of one build agree on everything.
  protocol @2 :UInt32;
  # The version of the other schema files.
  instance @3 :Text;
  # Names this run of the process, at random; never reused.
  pid @4 :UInt32;
}

interface Bootstrap {
  hello @0 (caller :Hello) -> (me :Hello);
  # Who is there. Gives nothing.

  redeem @1 (secret :Data) -> (capability :AnyPointer);
  # Turns a secret into the capability it stands for. Refused for any other bytes.

  drain @2 () -> ();
  # Asks the process to finish what it does and leave. Only for processes of the same user on
  # the same host.
}
