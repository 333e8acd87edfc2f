#include "CArchive.h"

#include <archive.h>
#include <archive_entry.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_open;
static char reason[512];

// The functions of libarchive that are called. The headers are its own, so types cannot disagree.
#define FUNCTIONS(F)                                                                                                   \
    F(archive_entry_filetype)                                                                                          \
    F(archive_entry_hardlink)                                                                                          \
    F(archive_entry_pathname)                                                                                          \
    F(archive_entry_size)                                                                                              \
    F(archive_error_string)                                                                                            \
    F(archive_filter_bytes)                                                                                            \
    F(archive_read_data)                                                                                               \
    F(archive_read_data_skip)                                                                                          \
    F(archive_read_free)                                                                                               \
    F(archive_read_new)                                                                                                \
    F(archive_read_next_header)                                                                                        \
    F(archive_read_open_fd)                                                                                            \
    F(archive_read_support_filter_bzip2)                                                                               \
    F(archive_read_support_filter_gzip)                                                                                \
    F(archive_read_support_filter_xz)                                                                                  \
    F(archive_read_support_filter_zstd)                                                                                \
    F(archive_read_support_format_tar)

#define POINTER(name) static typeof(name) *p_##name;
FUNCTIONS(POINTER)
#undef POINTER

static void open_library(void) {
    void *handle = dlopen("libarchive.so.13", RTLD_NOW | RTLD_LOCAL);
    const char *missing = NULL;
    if (handle) {
        is_open = true;
#define LOAD(name)                                                                                                     \
    if (!(*(void **)&p_##name = dlsym(handle, #name))) {                                                               \
        is_open = false;                                                                                               \
        missing = #name;                                                                                               \
    }
        FUNCTIONS(LOAD)
#undef LOAD
    }
    if (missing) {
        snprintf(reason, sizeof reason, "libarchive.so.13 lacks the function %s", missing);
    } else if (!is_open) {
        const char *why = dlerror();
        snprintf(reason, sizeof reason, "%s", why ? why : "libarchive.so.13 cannot be opened");
    }
}

bool wb_archive_available(const char **why) {
    pthread_once(&once, open_library);
    if (why) *why = is_open ? NULL : reason;
    return is_open;
}

struct wb_tar {
    struct archive *archive;
    struct archive_entry *entry; // belongs to the archive
    bool lacks_end;
};

// Warnings tell of names and times that cannot be converted; names then are the bytes that they are.
static wb_tar_result result_of(int code) {
    return code == ARCHIVE_EOF ? WB_TAR_END : code == ARCHIVE_OK || code == ARCHIVE_WARN ? WB_TAR_OK : WB_TAR_BROKEN;
}

wb_tar *wb_tar_open(int descriptor, wb_tar_result *result) {
    wb_tar *tar = calloc(1, sizeof *tar);
    struct archive *archive = wb_archive_available(NULL) ? p_archive_read_new() : NULL;
    if (!tar || !archive) {
        if (archive) p_archive_read_free(archive);
        free(tar);
        return NULL;
    }
    tar->archive = archive;
    p_archive_read_support_filter_bzip2(archive);
    p_archive_read_support_filter_gzip(archive);
    p_archive_read_support_filter_xz(archive);
    p_archive_read_support_filter_zstd(archive);
    p_archive_read_support_format_tar(archive);
    *result = result_of(p_archive_read_open_fd(archive, descriptor, 1 << 18));
    return tar;
}

void wb_tar_close(wb_tar *tar) {
    p_archive_read_free(tar->archive);
    free(tar);
}

wb_tar_result wb_tar_next(wb_tar *tar) {
    if (tar->entry) {
        tar->entry = NULL;
        wb_tar_result passed = result_of(p_archive_read_data_skip(tar->archive));
        if (passed != WB_TAR_OK) return passed == WB_TAR_END ? WB_TAR_BROKEN : passed;
    }
    int64_t before = p_archive_filter_bytes(tar->archive, 0);
    struct archive_entry *entry;
    // Asked to try again, libarchive would leave out an entry that is damaged; so that is an error too.
    wb_tar_result result = result_of(p_archive_read_next_header(tar->archive, &entry));
    if (result == WB_TAR_OK) tar->entry = entry;
    // A block of zeros marks the end. libarchive does without.
    if (result == WB_TAR_END && p_archive_filter_bytes(tar->archive, 0) == before) {
        tar->lacks_end = true;
        return WB_TAR_BROKEN;
    }
    return result;
}

const char *wb_tar_path(wb_tar *tar) { return p_archive_entry_pathname(tar->entry); }

bool wb_tar_is_file(wb_tar *tar) {
    return p_archive_entry_filetype(tar->entry) == AE_IFREG && !p_archive_entry_hardlink(tar->entry);
}

int64_t wb_tar_size(wb_tar *tar) { return p_archive_entry_size(tar->entry); }

wb_tar_result wb_tar_read(wb_tar *tar, uint8_t *target, size_t size, size_t *count) {
    la_ssize_t done = p_archive_read_data(tar->archive, target, size);
    *count = done > 0 ? (size_t)done : 0;
    return done >= 0 ? WB_TAR_OK : result_of((int)done);
}

const char *wb_tar_problem(wb_tar *tar) {
    return tar->lacks_end ? "no mark of its end" : p_archive_error_string(tar->archive);
}
