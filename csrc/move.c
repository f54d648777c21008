/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * move.c -- bytes from one place to another, a few KiB at a time
 *
 * Owns: the choice of the loop.  Locks: none; made before main(), never changed.
 * Kernel: boot_cpu_has() and alternatives.
 */
#include "move.h"

#include <stdint.h>
#include <string.h>

#include "compiler.h"

static const struct move_ops *chosen;

#ifdef __x86_64__
#include <immintrin.h>

enum { VECTOR = sizeof(__m256i), HALF = 4 * VECTOR, STEP = 2 * HALF };

/* Both begin and end with vectors that may not be aligned and overlap with those
 * between, so that there is no loop of single bytes. */

static inline __attribute__((target("avx2"))) void
copy_half(char *to, const char *from)
{
	const __m256i *src = (const __m256i *)from;
	__m256i *dst = (__m256i *)to;
	__m256i a = _mm256_loadu_si256(src), b = _mm256_loadu_si256(src + 1);
	__m256i c = _mm256_loadu_si256(src + 2), d = _mm256_loadu_si256(src + 3);

	_mm256_storeu_si256(dst, a);
	_mm256_storeu_si256(dst + 1, b);
	_mm256_storeu_si256(dst + 2, c);
	_mm256_storeu_si256(dst + 3, d);
}

static inline __attribute__((target("avx2"))) void
copy_step(char *to, const char *from)
{
	copy_half(to, from);
	copy_half(to + HALF, from + HALF);
}

static __attribute__((target("avx2"))) void
copy_avx2(void *to, const void *from, size_t n)
{
	size_t head = -(uintptr_t)to % VECTOR;
	const char *src = from;
	char *dst = to;

	if (head) {
		_mm256_storeu_si256((__m256i *)dst,
				    _mm256_loadu_si256((const __m256i *)src));
		dst += head;
		src += head;
		n -= head;
	}
	for (; n >= STEP; n -= STEP, dst += STEP, src += STEP)
		copy_step(dst, src);
	if (n)
		copy_step(dst + n - STEP, src + n - STEP);
}

static inline __attribute__((target("avx2"))) void zero_half(char *to)
{
	const __m256i zero = _mm256_setzero_si256();
	__m256i *dst = (__m256i *)to;

	_mm256_storeu_si256(dst, zero);
	_mm256_storeu_si256(dst + 1, zero);
	_mm256_storeu_si256(dst + 2, zero);
	_mm256_storeu_si256(dst + 3, zero);
}

static inline __attribute__((target("avx2"))) void zero_step(char *to)
{
	zero_half(to);
	zero_half(to + HALF);
}

static __attribute__((target("avx2"))) void zero_avx2(void *to, size_t n)
{
	size_t head = -(uintptr_t)to % VECTOR;
	char *dst = to;

	if (head) {
		_mm256_storeu_si256((__m256i *)dst, _mm256_setzero_si256());
		dst += head;
		n -= head;
	}
	for (; n >= STEP; n -= STEP, dst += STEP)
		zero_step(dst);
	if (n)
		zero_step(dst + n - STEP);
}

static const struct move_ops avx2 = { "avx2", copy_avx2, zero_avx2 };

__attribute__((constructor(102))) static void move_init(void)
{
	__builtin_cpu_init();
	if (__builtin_cpu_supports("avx2"))
		chosen = &avx2;
}
#endif

const struct move_ops *move_select(void)
{
	return chosen;
}

static bool takes_loop(size_t n)
{
	return n - MOVE_LOOP_MIN <= MOVE_LOOP_MAX - MOVE_LOOP_MIN && chosen;
}

void move_bytes(void *to, const void *from, size_t n)
{
	if (takes_loop(n))
		chosen->copy(to, from, n);
	else
		memcpy(to, from, n);
}

void zero_bytes(void *to, const void *unused, size_t n)
{
	(void)unused;
	if (takes_loop(n))
		chosen->zero(to, n);
	else
		memset(to, 0, n);
}
