// The products of AVX-VNNI through the 256-bit instructions of AVX-512 VNNI, which a processor without the former may
// have. Test builds only.
#define ONESEC_VNNI_OF_AVX512
#include "kernels_avxvnni.cc"
