await Slipway.start()
