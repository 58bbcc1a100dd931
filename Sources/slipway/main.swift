import Sandboxing

InheritedDescriptors.closeOnExec()
EarlySession.begin(CommandLine.arguments.dropFirst())
await Slipway.start()
