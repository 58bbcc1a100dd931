await Probe.main(Array(CommandLine.arguments.dropFirst()))
