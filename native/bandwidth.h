// Read bandwidth as decode could reach it: one stream a thread, widest loads, 2 MiB pages.
#pragma once
#include <cstddef>

namespace onesec {

// GB/s (1e9) of reading `bytes` over and over for about `seconds` with `threads` threads.
double read_bandwidth(size_t bytes, int threads, double seconds);

}  // namespace onesec
