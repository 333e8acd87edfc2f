// The program `app` of the Python package: libwhitebox.so has all of it.

#include "whitebox.h"

int main(void) { whitebox_main(); }
