#include "slipway_sandbox.h"
