// The program. What it does is in `Commands`, which `libwhitebox.so` has too.

import Commands

App.main()
