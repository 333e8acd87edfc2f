#include "CArchive.h"

#include <CSystem.h>
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_open;
static char reason[512];

// The functions that are called. The headers are the libraries' own, so types cannot disagree.
#define ARCHIVE_FUNCTIONS(F)                                                                                           \
    F(archive_entry_filetype)                                                                                          \
    F(archive_entry_hardlink)                                                                                          \
    F(archive_entry_pathname)                                                                                          \
    F(archive_entry_size)                                                                                              \
    F(archive_error_string)                                                                                            \
    F(archive_filter_bytes)                                                                                            \
    F(archive_read_data)                                                                                               \
    F(archive_read_data_block)                                                                                         \
    F(archive_read_data_skip)                                                                                          \
    F(archive_read_free)                                                                                               \
    F(archive_read_new)                                                                                                \
    F(archive_read_next_header)                                                                                        \
    F(archive_read_open2)                                                                                              \
    F(archive_read_support_filter_bzip2)                                                                               \
    F(archive_read_support_filter_xz)                                                                                  \
    F(archive_read_support_filter_zstd)                                                                                \
    F(archive_read_support_format_raw)                                                                                 \
    F(archive_read_support_format_tar)                                                                                 \
    F(archive_set_error)
#define ZLIB_FUNCTIONS(F) F(inflate) F(inflateEnd) F(inflateInit2_) F(inflateReset)

#define POINTER(name) static typeof(name) *p_##name;
ARCHIVE_FUNCTIONS(POINTER)
ZLIB_FUNCTIONS(POINTER)
#undef POINTER

#define FUNCTION(name) {#name, (void **)&p_##name},
static const wb_function archive_functions[] = {ARCHIVE_FUNCTIONS(FUNCTION)};
static const wb_function zlib_functions[] = {ZLIB_FUNCTIONS(FUNCTION)};
#undef FUNCTION
#define COUNT(list) (sizeof list / sizeof *list)

static void open_libraries(void) {
    is_open = wb_open_library("libarchive.so.13", archive_functions, COUNT(archive_functions), reason, sizeof reason) &&
              wb_open_library("libz.so.1", zlib_functions, COUNT(zlib_functions), reason, sizeof reason);
}

bool wb_archive_available(const char **why) {
    pthread_once(&once, open_libraries);
    if (why) *why = is_open ? NULL : reason;
    return is_open;
}

// MARK: What archives are read from

// The bytes of the archive itself, whatever it is compressed by. libarchive passes over gzip's own sums, so that is read by zlib, which does not;
// and it stops at the mark of an archive's end, before the last sums of the others. So what is compressed is made plain here, and read to its end.
typedef struct {
    int descriptor;
    bool is_file;
    // The first bytes, which told what it is, and how many of them were handed on.
    uint8_t first[6];
    size_t first_count, first_used;
    // Nothing, gzip, or something else, which an archive of its own makes plain.
    enum { PLAIN, GZIP, OTHER } compression;
    z_stream zlib;
    bool is_inside, is_over;
    struct archive *plain;
    uint8_t *input, *output;
} wb_source;

enum { block = 1 << 18 };

static ssize_t read_descriptor(wb_source *source, uint8_t *target, size_t size) {
    if (source->first_used < source->first_count) {
        size_t left = source->first_count - source->first_used, count = left < size ? left : size;
        memcpy(target, source->first + source->first_used, count);
        source->first_used += count;
        return (ssize_t)count;
    }
    ssize_t count;
    do count = read(source->descriptor, target, size);
    while (count < 0 && errno == EINTR);
    return count;
}

static la_ssize_t read_plain(struct archive *archive, void *user, const void **buffer) {
    wb_source *source = user;
    ssize_t count = read_descriptor(source, source->input, block);
    *buffer = source->input;
    if (count < 0) p_archive_set_error(archive, errno, "%s", strerror(errno));
    return count;
}

// Passes over what nobody wants, of a file that lies on a disk.
static la_int64_t skip_plain(struct archive *archive, void *user, la_int64_t request) {
    (void)archive;
    wb_source *source = user;
    struct stat status;
    off_t here;
    if (!source->is_file || source->first_used < source->first_count || fstat(source->descriptor, &status) ||
        (here = lseek(source->descriptor, 0, SEEK_CUR)) < 0 || here >= status.st_size)
        return 0;
    off_t left = status.st_size - here, count = request < left ? request : left;
    return lseek(source->descriptor, count, SEEK_CUR) < 0 ? 0 : count;
}

// Says what is wrong once all that was right has been handed on.
static la_ssize_t gzip_failed(struct archive *archive, z_stream *zlib, int code, const char *why) {
    la_ssize_t count = block - (la_ssize_t)zlib->avail_out;
    if (count > 0) return count;
    p_archive_set_error(archive, code, "%s", why);
    return ARCHIVE_FATAL;
}

static la_ssize_t read_gzip(struct archive *archive, void *user, const void **buffer) {
    wb_source *source = user;
    z_stream *zlib = &source->zlib;
    *buffer = zlib->next_out = source->output;
    zlib->avail_out = block;
    while (zlib->avail_out && !source->is_over) {
        if (!zlib->avail_in) {
            ssize_t count = read_descriptor(source, source->input, block);
            if (count < 0) return gzip_failed(archive, zlib, errno, strerror(errno));
            if (count == 0 && source->is_inside) return gzip_failed(archive, zlib, EILSEQ, "truncated gzip input");
            source->is_over = count == 0;
            zlib->next_in = source->input;
            zlib->avail_in = (unsigned)count;
            if (source->is_over) break;
        }
        if (!source->is_inside) {
            // Another part may follow, as `cat a.gz b.gz` makes them; what is none, such as zeros that fill a tape's block, is passed over.
            source->is_over = *zlib->next_in != 0x1F;
            if (source->is_over || p_inflateReset(zlib) != Z_OK) break;
            source->is_inside = true;
        }
        int code = p_inflate(zlib, Z_NO_FLUSH);
        if (code == Z_STREAM_END) {
            source->is_inside = false;
        } else if (code != Z_OK && code != Z_BUF_ERROR) {
            return gzip_failed(archive, zlib, EILSEQ, zlib->msg ? zlib->msg : "gzip decompression failed");
        }
    }
    return block - (la_ssize_t)zlib->avail_out;
}

static la_ssize_t read_other(struct archive *archive, void *user, const void **buffer) {
    wb_source *source = user;
    size_t count = 0;
    la_int64_t offset;
    int code = p_archive_read_data_block(source->plain, buffer, &count, &offset);
    if (code == ARCHIVE_EOF) return 0;
    if (code == ARCHIVE_OK || code == ARCHIVE_WARN) return (la_ssize_t)count;
    const char *why = p_archive_error_string(source->plain);
    p_archive_set_error(archive, EILSEQ, "%s", why ? why : "decompression failed");
    return ARCHIVE_FATAL;
}

static bool begins(const wb_source *source, const char *bytes, size_t count) {
    return source->first_count >= count && memcmp(source->first, bytes, count) == 0;
}

// MARK: Archives

struct wb_tar {
    struct archive *archive;
    struct archive_entry *entry; // belongs to the archive
    bool lacks_end;
    wb_source source;
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
    p_archive_read_support_format_tar(archive);
    wb_source *source = &tar->source;
    source->descriptor = descriptor;
    struct stat status;
    source->is_file = fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
    source->input = malloc(block);
    source->output = malloc(block);
    ssize_t count = 1;
    while (count > 0 && source->first_count < sizeof source->first) {
        do count = read(descriptor, source->first + source->first_count, sizeof source->first - source->first_count);
        while (count < 0 && errno == EINTR);
        if (count > 0) source->first_count += (size_t)count;
    }
    archive_read_callback *read_source = read_plain;
    archive_skip_callback *skip = skip_plain;
    if (!source->input || !source->output) {
        count = -1;
        errno = ENOMEM;
    } else if (begins(source, "\x1F\x8B", 2)) {
        source->compression = GZIP;
        read_source = read_gzip;
        skip = NULL;
        if (p_inflateInit2_(&source->zlib, 16 + MAX_WBITS, ZLIB_VERSION, sizeof source->zlib) != Z_OK) {
            source->compression = PLAIN;
            count = -1;
            errno = ENOMEM;
        }
    } else if (begins(source, "BZh", 3) || begins(source, "\xFD" "7zXZ", 5) || begins(source, "\x28\xB5\x2F\xFD", 4)) {
        source->compression = OTHER;
        read_source = read_other;
        skip = NULL;
        struct archive_entry *content;
        if ((source->plain = p_archive_read_new())) {
            p_archive_read_support_filter_bzip2(source->plain);
            p_archive_read_support_filter_xz(source->plain);
            p_archive_read_support_filter_zstd(source->plain);
            p_archive_read_support_format_raw(source->plain);
            // What is wrong is said by the first block.
            if (p_archive_read_open2(source->plain, source, NULL, read_plain, NULL, NULL) == ARCHIVE_OK)
                p_archive_read_next_header(source->plain, &content);
        } else {
            count = -1;
            errno = ENOMEM;
        }
    }
    if (count < 0) {
        p_archive_set_error(archive, errno, "%s", strerror(errno));
        *result = WB_TAR_BROKEN;
    } else {
        *result = result_of(p_archive_read_open2(archive, source, NULL, read_source, skip, NULL));
    }
    return tar;
}

void wb_tar_close(wb_tar *tar) {
    p_archive_read_free(tar->archive);
    if (tar->source.plain) p_archive_read_free(tar->source.plain);
    if (tar->source.compression == GZIP) p_inflateEnd(&tar->source.zlib);
    free(tar->source.input);
    free(tar->source.output);
    free(tar);
}

// Reads what is compressed to its end, where its last sums are.
static wb_tar_result finish(wb_tar *tar) {
    const void *buffer;
    la_ssize_t count = 0;
    do {
        if (tar->source.compression == GZIP) count = read_gzip(tar->archive, &tar->source, &buffer);
        if (tar->source.compression == OTHER) count = read_other(tar->archive, &tar->source, &buffer);
    } while (count > 0);
    return count < 0 ? WB_TAR_BROKEN : WB_TAR_END;
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
    return result == WB_TAR_END ? finish(tar) : result;
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

bool wb_tar_is_compressed(const wb_tar *tar) { return tar->source.compression != PLAIN; }

const char *wb_tar_problem(wb_tar *tar) {
    return tar->lacks_end ? "no mark of its end" : p_archive_error_string(tar->archive);
}
