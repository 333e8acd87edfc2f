#define _GNU_SOURCE
#include "CSystem.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

bool wb_open_library(const char *library, const wb_function *functions, size_t count, char *reason, size_t size) {
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *why = dlerror();
        if (why) snprintf(reason, size, "%s", why);
        else snprintf(reason, size, "%s cannot be opened", library);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if ((*functions[i].address = dlsym(handle, functions[i].name))) continue;
        snprintf(reason, size, "%s lacks the function %s", library, functions[i].name);
        return false;
    }
    return true;
}

int wb_sync_file_system(int descriptor) { return syncfs(descriptor) == 0 ? 0 : errno; }
