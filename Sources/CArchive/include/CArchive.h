// Tar archives through libarchive, which is opened at run time.
//
// Linked, it and what it brings (XML, Unicode's tables, access lists, compressors) would cost every start of the program more than a
// millisecond, and the program would not start where they are missing. So libarchive.so.13 and, for gzip, zlib (libz.so.1) are opened with the first
// archive. Only tar is switched on, of all its kinds, plain or compressed by gzip, bzip2, xz or zstd, whose sums are checked.
#ifndef WHITEBOX_CARCHIVE_H
#define WHITEBOX_CARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Whether both are open (opening them if this is the first call). If not, `*reason` becomes the dynamic linker's explanation, which lives as
// long as the process. May be called from any thread.
bool wb_archive_available(const char **reason);

// An archive that is being read from its start to its end; all else is called by one thread at a time.
typedef struct wb_tar wb_tar;

// What reads gave.
typedef enum { WB_TAR_OK, WB_TAR_END, WB_TAR_BROKEN } wb_tar_result;

// Begins to read what a file descriptor gives, which may be a pipe and stays open. Null if wb_archive_available is not, or for want of memory.
// Reads the first bytes: what is wrong with them is the result.
wb_tar *wb_tar_open(int descriptor, wb_tar_result *result);
void wb_tar_close(wb_tar *archive);

// Goes to the next entry; what is left of the one before is passed over. An archive that just stops, without the mark of its end, is broken; so is
// one whose compressed bytes do not have the sum that they say, which is known at its end.
wb_tar_result wb_tar_next(wb_tar *archive);
// Of the entry: its path as it is in the archive (null if it has none), whether it is a regular file and no link to one, and its bytes.
const char *wb_tar_path(wb_tar *archive);
bool wb_tar_is_file(wb_tar *archive);
int64_t wb_tar_size(wb_tar *archive);
// Reads on in the entry's content. `*count` becomes how many bytes there were, 0 at its end.
wb_tar_result wb_tar_read(wb_tar *archive, uint8_t *target, size_t size, size_t *count);

// Whether it is not plain.
bool wb_tar_is_compressed(const wb_tar *archive);

// What is wrong, null if libarchive does not say.
const char *wb_tar_problem(wb_tar *archive);

#endif
