// Chooses the instruction set once, by what the processor and the operating system say.
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace onesec {

namespace scalar { extern const Kernels table; }
#if defined(__x86_64__)
namespace avx2 { extern const Kernels table; }
namespace avx512 { extern const Kernels table; }
#endif

const Kernels* const* available_kernels() {
  static const Kernels* tables[4] = {};
  if (!tables[0]) {
    int n = 0;
    const Kernels* found[4] = {};
    found[n++] = &scalar::table;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
      found[n++] = &avx2::table;
      if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"))
        found[n++] = &avx512::table;
    }
#endif
    for (int i = n; i-- > 0;) tables[i] = found[i];  // [0] last: it marks the table as filled
  }
  return tables;
}

const Kernels& choose_kernels(const char* forced) {
  const Kernels* best = nullptr;
  std::string known;
  for (const Kernels* const* k = available_kernels(); *k; ++k) {
    best = *k;
    known += (known.empty() ? "" : ", ") + std::string((*k)->name);
    if (forced && *forced && !std::strcmp(forced, (*k)->name)) return **k;
  }
  if (forced && *forced)
    throw std::runtime_error("ONESEC_ISA=" + std::string(forced) + " cannot run here; this machine has " + known + ".");
  return *best;
}

}  // namespace onesec
