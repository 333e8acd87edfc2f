// Which instruction sets this processor has.
#include "CMicrokernels.h"

#include <stdlib.h>

extern const wb_functions functions_baseline;
#if defined(__x86_64__)
extern const wb_functions functions_avx512, functions_avx2;
#endif

const wb_functions *wb_functions_at(int index)
{
    const wb_functions *found[4] = {0};
    int count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
        found[count++] = &functions_avx512;
    if (fma) found[count++] = &functions_avx2;
#endif
    found[count++] = &functions_baseline;
    return index >= 0 && index < count ? found[index] : NULL;
}

const char *wb_map_name(int operation)
{
    static const char *const names[] = {
#define MAP(NAME, FORMULA) #NAME,
        WB_MAPS(MAP)
#undef MAP
    };
    return names[operation];
}

void *wb_scratch_get(wb_scratch *scratch, size_t bytes)
{
    if (scratch->size < bytes) {
        free(scratch->memory);
        scratch->size = (bytes + 4095) & ~(size_t)4095;
        scratch->memory = aligned_alloc(64, scratch->size);
        // A few hundred kilobytes; some megabytes for thousands of taps or channels. There is no way on without, and none to say so.
        if (!scratch->memory) abort();
    }
    return scratch->memory;
}

void wb_scratch_free(wb_scratch *scratch)
{
    free(scratch->memory);
    *scratch = (wb_scratch){0};
}
