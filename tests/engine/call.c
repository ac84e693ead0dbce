/* Load a library of kernels and run one forward pass: call LIBRARY FUNCTION INPUT OUTPUT.

   INPUT is what test_platforms.py writes: five 64-bit numbers (words of the table, how many of them are
   addresses, bytes of memory, where in it the result lies, bytes of the result), the words that are addresses,
   the table with addresses counted from the start of the memory, and the memory. OUTPUT is the result. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef _WIN32
#include <windows.h>
#define load(path) ((void *)LoadLibraryA(path))
#define find(library, name) ((void *)GetProcAddress((HMODULE)(library), name))
#else
#include <dlfcn.h>
#define load(path) dlopen(path, RTLD_NOW)
#define find(library, name) dlsym(library, name)
#endif

static void fail(const char *what) {
    fprintf(stderr, "cannot %s\n", what);
    exit(1);
}

int main(int count, char **arguments) {
    if (count != 5) fail("run without four arguments");
    void *library = load(arguments[1]);
    if (!library) fail("load the library");
    int (*forward)(const int64_t *, int) = (int (*)(const int64_t *, int))find(library, arguments[2]);
    if (!forward) fail("find the function");

    FILE *input = fopen(arguments[3], "rb");
    int64_t sizes[5];
    if (!input || fread(sizes, 8, 5, input) != 5) fail("read the sizes");
    int64_t *addresses = malloc(8 * sizes[1] + 8), *table = malloc(8 * sizes[0] + 8);
    char *allocated = malloc(sizes[2] + 64), *memory = (char *)(((uintptr_t)allocated + 63) & ~(uintptr_t)63);
    if (fread(addresses, 8, sizes[1], input) != (size_t)sizes[1]) fail("read the addresses");
    if (fread(table, 8, sizes[0], input) != (size_t)sizes[0]) fail("read the table");
    if (fread(memory, 1, sizes[2], input) != (size_t)sizes[2]) fail("read the memory");
    for (int64_t i = 0; i < sizes[1]; i++) table[addresses[i]] += (int64_t)(uintptr_t)memory;

    int status = forward(table, 1);
    FILE *output = fopen(arguments[4], "wb");
    if (!output || fwrite(memory + sizes[3], 1, sizes[4], output) != (size_t)sizes[4]) fail("write");
    if (fclose(output)) fail("write");
    return status;
}
