/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flush_x86.c -- clwb, clflushopt, clflush and non-temporal stores
 *
 * Owns: nothing.  Locks: none.
 * Kernel: arch/x86/include/asm/special_insns.h, clwb();
 *         arch/x86/lib/usercopy_64.c, memcpy_flushcache() (v4.14).
 */
#ifdef __x86_64__
#include "flush.h"

#include <cpuid.h>
#include <emmintrin.h>
#include <stdint.h>
#include <string.h>

#include "compiler.h"

enum { LEAF7_EBX_CLFLUSHOPT = 1 << 23, LEAF7_EBX_CLWB = 1 << 24 };

static uintptr_t line_of(const void *addr)
{
	return (uintptr_t)addr & ~(uintptr_t)(CACHELINE - 1);
}

__attribute__((target("clwb"))) static void clwb_range(const void *addr,
						       size_t n)
{
	uintptr_t end = (uintptr_t)addr + n;

	for (uintptr_t p = line_of(addr); p < end; p += CACHELINE)
		__builtin_ia32_clwb((void *)p);
}

__attribute__((target("clflushopt"))) static void
clflushopt_range(const void *addr, size_t n)
{
	uintptr_t end = (uintptr_t)addr + n;

	for (uintptr_t p = line_of(addr); p < end; p += CACHELINE)
		__builtin_ia32_clflushopt((void *)p);
}

static void clflush_range(const void *addr, size_t n)
{
	uintptr_t end = (uintptr_t)addr + n;

	for (uintptr_t p = line_of(addr); p < end; p += CACHELINE)
		_mm_clflush((void *)p);
}

static void store_fence(void)
{
	_mm_sfence();
}

/* Bytes before the first whole line of [to, to + n). */
static size_t head_bytes(const void *to, size_t n)
{
	size_t head = -(uintptr_t)to % CACHELINE;

	return head < n ? head : n;
}

static void copy_lines(char *to, const char *from, size_t n)
{
	for (size_t i = 0; i < n; i += 4 * sizeof(__m128i)) {
		const __m128i *src = (const __m128i *)(from + i);
		__m128i *dst = (__m128i *)(to + i);
		__m128i a = _mm_loadu_si128(src), b = _mm_loadu_si128(src + 1);
		__m128i c = _mm_loadu_si128(src + 2), d = _mm_loadu_si128(src + 3);

		_mm_stream_si128(dst, a);
		_mm_stream_si128(dst + 1, b);
		_mm_stream_si128(dst + 2, c);
		_mm_stream_si128(dst + 3, d);
	}
}

static void zero_lines(char *to, size_t n)
{
	const __m128i zero = _mm_setzero_si128();

	for (size_t i = 0; i < n; i += sizeof(zero))
		_mm_stream_si128((__m128i *)(to + i), zero);
}

static void copy_nt(void *to, const void *from, size_t n)
{
	size_t head = head_bytes(to, n);
	size_t lines = (n - head) & ~(size_t)(CACHELINE - 1);
	size_t tail = n - head - lines;
	char *dst = to;
	const char *src = from;

	memcpy(dst, src, head);
	copy_lines(dst + head, src + head, lines);
	memcpy(dst + head + lines, src + head + lines, tail);
	if (head)
		flush_select()->flush(dst, head);
	if (tail)
		flush_select()->flush(dst + head + lines, tail);
}

static void zero_nt(void *to, size_t n)
{
	size_t head = head_bytes(to, n);
	size_t lines = (n - head) & ~(size_t)(CACHELINE - 1);
	size_t tail = n - head - lines;
	char *dst = to;

	memset(dst, 0, head);
	zero_lines(dst + head, lines);
	memset(dst + head + lines, 0, tail);
	if (head)
		flush_select()->flush(dst, head);
	if (tail)
		flush_select()->flush(dst + head + lines, tail);
}

static const struct flush_ops clwb = {
	"clwb", clwb_range, copy_nt, zero_nt, store_fence,
};
static const struct flush_ops clflushopt = {
	"clflushopt", clflushopt_range, copy_nt, zero_nt, store_fence,
};
static const struct flush_ops clflush = {
	"clflush", clflush_range, copy_nt, zero_nt, store_fence,
};

const struct flush_ops *const flush_variants[] = {
	&clwb, &clflushopt, &clflush, NULL,
};

int flush_present(const struct flush_ops *ops)
{
	unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;

	__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
	if (ops == &clwb)
		return !!(ebx & LEAF7_EBX_CLWB);
	if (ops == &clflushopt)
		return !!(ebx & LEAF7_EBX_CLFLUSHOPT);
	return 1;	/* clflush: part of x86-64 */
}

#endif
