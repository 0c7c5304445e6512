// Chooses the instruction set once, by what the processor and the operating system say.
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels.h"

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace onesec {

namespace scalar { extern const Kernels table; }
#if defined(__x86_64__)
namespace avx2 { extern const Kernels table; }
namespace avxvnni { extern const decltype(Kernels::matmul4) matmul4, matmul8; }
namespace avx512 { extern const Kernels table; }
namespace amx {
extern const PromptKernels products;
const char* refusal();
}
#if defined(ONESEC_TEST_TABLES)
namespace avxvnni_evex { extern const decltype(Kernels::matmul4) matmul4, matmul8; }
namespace amx_emulated { extern const PromptKernels products; }
#endif
#elif defined(__aarch64__)
namespace neon { extern const Kernels table; }
#endif

namespace {

struct Found {
  static constexpr int kMost = 8;
  Kernels tables[kMost];
  const Kernels* pointers[kMost + 1] = {};  // null-terminated
  std::string amx = "absent";
  int count = 0;

  Found() {
    add(scalar::table);
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vnni");
    const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) return;
    add(avx2::table);
#if defined(ONESEC_TEST_TABLES)
    if (avx512) add(avx2::table, "avxvnni-evex", avxvnni_evex::matmul4, avxvnni_evex::matmul8);
    if (bf16) add(avx512::table, "amx-emulated", amx_emulated::products);
#endif
    if (__builtin_cpu_supports("avxvnni")) add(avx2::table, "avxvnni", avxvnni::matmul4, avxvnni::matmul8);
    if (avx512) add(avx512::table);
    if (bf16 && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16")) {
      const char* why = amx::refusal();
      amx = why ? std::string("refused: ") + why : "used";
      if (!why) add(avx512::table, "amx", amx::products);
    }
#elif defined(__aarch64__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) add(neon::table);
#endif
  }
  Kernels& add(const Kernels& table) {
    pointers[count] = tables + count;
    return tables[count++] = table;
  }
  // A table with another name, and other plane products or prompt products of its own.
  void add(const Kernels& table, const char* name, decltype(Kernels::matmul4) matmul4, decltype(Kernels::matmul4) matmul8) {
    Kernels& copy = add(table);
    copy.name = name, copy.matmul4 = matmul4, copy.matmul8 = matmul8;
  }
  void add(const Kernels& table, const char* name, const PromptKernels& prompt) {
    Kernels& copy = add(table);
    copy.name = name, copy.prompt = &prompt;
  }
};

const Found& found() {
  static const Found once;
  return once;
}

}  // namespace

const Kernels* const* available_kernels() { return found().pointers; }
const char* amx_state() { return found().amx.c_str(); }

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
