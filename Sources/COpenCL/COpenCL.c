#include "COpenCL.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *library;   // what was opened, or null
static char reason[1024];     // why nothing was

// One pointer per function; null where the loader is missing or lacks the function.
#define STATUS(name, parameters, arguments) static cl_int(*p_##name) parameters;
#define OBJECT(type, name, parameters, arguments) static type(*p_##name) parameters;
WB_OPENCL_FUNCTIONS(STATUS, OBJECT)
#undef STATUS
#undef OBJECT

static void *open_library(const char *name, size_t *used) {
    void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle) {
        library = name;
        return handle;
    }
    const char *why = dlerror();
    int wrote = snprintf(reason + *used, sizeof reason - *used, "%s%s", *used ? "; " : "", why ? why : name);
    if (wrote > 0) *used += (size_t)wrote;
    if (*used >= sizeof reason) *used = sizeof reason - 1;
    return NULL;
}

static void open_loader(void) {
    size_t used = 0;
    void *handle;
    const char *named = getenv("WHITEBOX_OPENCL_LIBRARY");
    if (named && *named) {
        // The environment may change later; `library` must not change with it. Kept for the life of the process.
        static char copy[4096];
        if (snprintf(copy, sizeof copy, "%s", named) >= (int)sizeof copy) {
            snprintf(reason, sizeof reason, "WHITEBOX_OPENCL_LIBRARY is longer than a path may be");
            return;
        }
        // Asked for by name: falling back to another library would hide the mistake.
        handle = open_library(copy, &used);
    } else {
        handle = open_library("libOpenCL.so.1", &used);
        if (!handle) handle = open_library("libOpenCL.so", &used);
    }
    if (!handle) return;
    // Never closed: drivers keep threads and exit handlers in the library.
#define STATUS(name, parameters, arguments) *(void **)&p_##name = dlsym(handle, #name);
#define OBJECT(type, name, parameters, arguments) *(void **)&p_##name = dlsym(handle, #name);
    WB_OPENCL_FUNCTIONS(STATUS, OBJECT)
#undef STATUS
#undef OBJECT
}

bool wb_opencl_available(const char **why) {
    pthread_once(&once, open_loader);
    if (why) *why = library ? NULL : reason;
    return library != NULL;
}

const char *wb_opencl_library(void) {
    pthread_once(&once, open_loader);
    return library;
}

static cl_int missing(void) { return library ? WB_CL_FUNCTION_MISSING : WB_CL_LOADER_MISSING; }

#define STATUS(name, parameters, arguments)                                                                            \
    cl_int wb_##name parameters {                                                                                      \
        pthread_once(&once, open_loader);                                                                              \
        return p_##name ? p_##name arguments : missing();                                                              \
    }
#define OBJECT(type, name, parameters, arguments)                                                                      \
    type wb_##name parameters {                                                                                        \
        pthread_once(&once, open_loader);                                                                              \
        if (p_##name) return p_##name arguments;                                                                       \
        if (status) *status = missing();                                                                               \
        return NULL;                                                                                                   \
    }
WB_OPENCL_FUNCTIONS(STATUS, OBJECT)
