import Events

/// Every event as a line of JSON, for `--events`.
package struct EventLog: EventSink {
  private let output: any ByteOutput

  package init(_ output: any ByteOutput) { self.output = output }

  package func receive(_ event: Event) { output.write(event.jsonLine) }
}
