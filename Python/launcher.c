// The program `app` of the Python package: libwhitebox.so has all of it.

#include "whitebox.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(void) {
    // Of a command that Python runs nothing is left over where Python itself is killed.
    const char *parent = getenv("WHITEBOX_PARENT");
    if (parent) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != (pid_t)atol(parent)) return 130;
    }
    whitebox_main();
}
