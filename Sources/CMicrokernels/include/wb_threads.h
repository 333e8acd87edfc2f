// Threads for the steps of a computation: many, short, one after the other.
#pragma once
#include <stdbool.h>

typedef struct wb_threads wb_threads;

// Work on one piece; `thread` is below the count of threads, and no two pieces have the same one at the same time.
typedef void (*wb_work)(void *context, int piece, int thread);

// `count` threads, the caller of `wb_threads_run` being one of them; NULL if there is no memory. With `spin`, a thread that
// runs out of work looks out for more for a while before it sleeps: for no more threads than there are cores.
wb_threads *wb_threads_make(int count, bool spin);

// Works on pieces 0 ..< `pieces`, each once, and returns when all are done. One caller at a time.
void wb_threads_run(wb_threads *, int pieces, wb_work work, void *context);

// Ends the threads.
void wb_threads_free(wb_threads *);
