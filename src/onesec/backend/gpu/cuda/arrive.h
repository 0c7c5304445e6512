// Blocks of one launch that finish something together: the last one to arrive does what is left.
#pragma once
#include "device.h"

namespace onesec::cuda {

// Called by all threads that compute. True in all of the last of `count` blocks: it may read (load_fresh) what the others wrote
// before they came. The counter is 0 before and afterwards; `scratch` is the block's own shared memory.
ONESEC_DEVICE bool last_of(int count, int32_t* counter, int* scratch) {
  meet<kThreads>();
  if (threadIdx.x == 0) {
    *scratch = arrive(counter) == count - 1;  // releases the whole block's writes, which the barrier has ordered before
    if (*scratch) *counter = 0;
  }
  meet<kThreads>();
  return *scratch != 0;
}

}  // namespace onesec::cuda
