// What the same kernel calls cost a C program. It stays alive and is asked through standard input, so that its rounds
// alternate with those of Node:
//
//   > NAME OPERATIONS ARGUMENT
//   < nanoseconds for all of them, or "error WHAT"
//
// Set-up is not timed.
#define _GNU_SOURCE
#include "baseline.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

uint64_t now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void fail(const char* what) {
    printf("error %s: %s\n", what, strerror(errno));
    fflush(stdout);
    exit(1);
}

long must(long result, const char* what) {
    if (result < 0)
        fail(what);
    return result;
}

void* must_map(int fd, size_t length) {
    void* at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        fail("mmap");
    return at;
}

static int memfd(size_t size) {
    const int fd = (int)must(memfd_create("bench", MFD_CLOEXEC), "memfd_create");
    must(ftruncate(fd, (off_t)size), "ftruncate");
    return fd;
}

void map_close(int fd, uint64_t operations, uint64_t length) {
    while (operations--)
        must(munmap(must_map(fd, length), length), "munmap");
}

void punch_touch(int fd, uint64_t operations) {
    volatile char* at = must_map(fd, 4096);
    while (operations--) {
        must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), "fallocate");
        *at = 1;
    }
    munmap((void*)at, 4096);
}

static uint64_t bench_memfd_create_close(uint64_t operations, uint64_t size) {
    const uint64_t start = now();
    while (operations--)
        close(memfd(size));
    return now() - start;
}

static uint64_t bench_memfd_map_close(uint64_t operations, uint64_t length) {
    const int fd = memfd(length);
    const uint64_t start = now();
    map_close(fd, operations, length);
    const uint64_t end = now();
    close(fd);
    return end - start;
}

static uint64_t bench_memfd_punch_touch(uint64_t operations, uint64_t unused) {
    (void)unused;
    const int fd = memfd(4096);
    const uint64_t start = now();
    punch_touch(fd, operations);
    const uint64_t end = now();
    close(fd);
    return end - start;
}

/// Between a shared mapping and memory of this process, as the two lie for Node: buffers are made once.
static uint64_t copies(uint64_t operations, uint64_t length, int out) {
    static char *mapped, *own;
    static size_t room;
    if (room < length) {
        mapped = must_map(memfd(length), length);
        own = malloc(length);
        memset(mapped, 1, length);
        memset(own, 2, length);
        room = length;
    }
    const uint64_t start = now();
    while (operations--) {
        memcpy(out ? own : mapped, out ? mapped : own, length);
        __asm__ volatile("" ::: "memory");
    }
    return now() - start;
}

static uint64_t bench_read(uint64_t operations, uint64_t length) { return copies(operations, length, 1); }
static uint64_t bench_write(uint64_t operations, uint64_t length) { return copies(operations, length, 0); }

struct share {
    char* begin;
    char* end;
};

enum { chunk = 8 << 20, threads = 2 };

static void* populate(void* given) {
    const struct share* share = given;
    for (char* at = share->begin; at < share->end; at += chunk) {
        const size_t length = share->end - at < chunk ? (size_t)(share->end - at) : chunk;
        must(madvise(at, length, 23 /* MADV_POPULATE_WRITE */), "madvise(MADV_POPULATE_WRITE)");
    }
    return NULL;
}

/// What createMemoryBackend() asks of the kernel for memory-backend-memfd with prealloc=on and two threads.
static uint64_t bench_prealloc(uint64_t operations, uint64_t length) {
    uint64_t took = 0;
    while (operations--) {
        const uint64_t start = now();
        const int fd = memfd(length);
        char* base = must_map(fd, length);
        madvise(base, length, MADV_HUGEPAGE);
        madvise(base, length, MADV_DONTFORK);
        madvise(base, length, MADV_MERGEABLE);
        pthread_t ids[threads];
        struct share shares[threads];
        for (int i = 0; i < threads; i++) {
            shares[i] = (struct share){base + length / threads * i, base + length / threads * (i + 1)};
            if ((errno = pthread_create(&ids[i], NULL, populate, &shares[i])))
                fail("pthread_create");
        }
        for (int i = 0; i < threads; i++)
            pthread_join(ids[i], NULL);
        took += now() - start;
        munmap(base, length);
        close(fd);
    }
    return took;
}

static const struct bench benches[] = {
    {"read", bench_read},
    {"write", bench_write},
    {"memfd-create-close", bench_memfd_create_close},
    {"memfd-map-close", bench_memfd_map_close},
    {"memfd-punch-touch", bench_memfd_punch_touch},
    {"prealloc", bench_prealloc},
};

static const struct bench* find(const struct bench* list, size_t count, const char* name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    return NULL;
}

int main(void) {
    char line[256], name[64];
    uint64_t operations, argument;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%63s %lu %lu", name, &operations, &argument) != 3) {
            puts("error not a request");
        } else {
            const struct bench* bench = find(benches, sizeof benches / sizeof *benches, name);
            if (!bench)
                bench = find(kvm_benches, kvm_bench_count, name);
            if (bench)
                printf("%lu\n", bench->run(operations, argument));
            else
                printf("error no such case: %s\n", name);
        }
        fflush(stdout);
    }
    return 0;
}
