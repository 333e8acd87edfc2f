// The loops for x86-64 with AVX2 and FMA.
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>

#include "CMicrokernels.h"

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define WB_SET "AVX2"
#define WB_FUNCTIONS functions_avx2
#define WB_VW 8
#define WB_NV 2
#define WB_MR 6
#define WB_PERMUTE(x, index) _mm256_permutevar8x32_ps((__m256)(x), (__m256i)(index))
#define WB_DOT2(x, w) ((wb_ints)_mm256_madd_epi16((__m256i)(x), (__m256i)(w)))
#define WB_EVEN(w) ((wb_ints)_mm256_srai_epi16(_mm256_slli_epi16((__m256i)(w), 8), 8))
#define WB_ODD(w) ((wb_ints)_mm256_srai_epi16((__m256i)(w), 8))
#include "microkernels.inc"
#pragma clang attribute pop
#endif
