"""What the records are made of."""

FIRST_NAMES = "Ada Alan Barbara Claude Donald Edsger Frances Grace Hedy Ivan Joan Ken Linus Margaret Niklaus".split()
LAST_NAMES = "Adams Baker Clark Davis Evans Foster Green Hill Irwin Jones King Lewis Moore Nash Owens Price".split()
ADJECTIVES = "Blue Clever Durable Elegant Foldable Gentle Heavy Light Modern Quiet Rapid Sturdy".split()
THINGS = "Anchor Bell Compass Drum Engine Funnel Gauge Hawser Jib Keel Lantern Mast Oar Pump Rudder Sail Tiller".split()
