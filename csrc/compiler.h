/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * compiler.h -- what we ask of the compiler
 *
 * Shared words are C11 atomics everywhere; the short names below are the
 * kernel's.  A plain load or store of such a word is a bug, so the types are
 * _Atomic and the compiler would make it sequentially consistent at worst.
 */
#ifndef DAXCORE_COMPILER_H
#define DAXCORE_COMPILER_H

#include <stdatomic.h>
#include <stdbool.h>

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#define __cold		__attribute__((cold, noinline))
#define __aligned(n)	__attribute__((aligned(n)))
#define __printf(a, b)	__attribute__((format(printf, a, b)))
#define __always_inline_fn inline __attribute__((always_inline))
#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

/* Call through a pointer that nearly always is @f1 (kernel: INDIRECT_CALL_1),
 * so that the call can be inlined. */
#define INDIRECT_CALL_1(f, f1, ...) \
	(likely((f) == (f1)) ? (f1)(__VA_ARGS__) : (f)(__VA_ARGS__))

#define READ_ONCE(x)	atomic_load_explicit(&(x), memory_order_relaxed)
#define WRITE_ONCE(x, v) atomic_store_explicit(&(x), (v), memory_order_relaxed)
#define smp_load_acquire(p)	atomic_load_explicit((p), memory_order_acquire)
#define smp_store_release(p, v)	\
	atomic_store_explicit((p), (v), memory_order_release)

/* Bring a line near that is wanted some microseconds later: not into the first
 * cache, whose places for lines under way are few and wanted meanwhile. */
#define prefetch_later(p)	__builtin_prefetch((const void *)(p), 1, 2)

/* Only the compiler is held back; the CPU is dealt with by the heavy side
 * (asym_barrier_heavy() in sys.h). */
#define barrier()	atomic_signal_fence(memory_order_seq_cst)

#if defined(__x86_64__)
#define cpu_relax()	__builtin_ia32_pause()
#elif defined(__aarch64__)
#define cpu_relax()	__asm__ volatile("yield" ::: "memory")
#else
#define cpu_relax()	barrier()
#endif

/* Destructive interference: two lines, since x86 prefetches in pairs. */
#define CACHELINE	64
#define FALSE_SHARING	128

#endif
