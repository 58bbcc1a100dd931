#ifndef SLIPWAY_SANDBOX_H
#define SLIPWAY_SANDBOX_H

#endif
