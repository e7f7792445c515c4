#pragma once

#include <stddef.h>
#include <stdint.h>

struct bench {
    const char* name;
    /// Does so many operations; the nanoseconds that they took.
    uint64_t (*run)(uint64_t operations, uint64_t argument);
};

extern const struct bench kvm_benches[];
extern const size_t kvm_bench_count;

/// Says what failed, with errno, and ends the program.
void fail(const char* what);
long must(long result, const char* what);
void* must_map(int fd, size_t length);

void map_close(int fd, uint64_t operations, uint64_t length);
void punch_touch(int fd, uint64_t operations);
uint64_t now(void);
