/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_move.c -- copies and zeroes of every length and alignment
 *
 * A loop that reads or writes beyond its piece is seen twice: by the bytes
 * around it, and by pieces that end where no access is allowed.
 */
#define _GNU_SOURCE
#include "move.h"

#include <string.h>
#include <sys/mman.h>

#include "tap.h"

enum { ALIGNMENTS = 33, LENGTHS = 320, MARGIN = 128,
       ROOM = MARGIN + ALIGNMENTS + MOVE_LOOP_MIN + LENGTHS + MARGIN };

static unsigned char to[ROOM], expected[ROOM], from[ROOM + ALIGNMENTS];

static void fill(void)
{
	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (unsigned char)(i * 7 + i / 251 + 1);
}

static void check_copy(size_t align, size_t from_align, size_t n)
{
	memset(to, 0xee, ROOM);
	memset(expected, 0xee, ROOM);
	memcpy(expected + MARGIN + align, from + from_align, n);
	move_bytes(to + MARGIN + align, from + from_align, n);
	CHECK(!memcmp(to, expected, ROOM));
}

static void check_zero(size_t align, size_t n)
{
	memset(to, 0xee, ROOM);
	memset(expected, 0xee, ROOM);
	memset(expected + MARGIN + align, 0, n);
	zero_bytes(to + MARGIN + align, NULL, n);
	CHECK(!memcmp(to, expected, ROOM));
}

/* Lengths on both sides of where the loop begins, which here is all of it. */
static void each_length(void)
{
	fill();
	for (size_t n = MOVE_LOOP_MIN - 3; n < MOVE_LOOP_MIN + LENGTHS; n++) {
		check_copy(n % ALIGNMENTS, 3, n);
		check_zero(n % ALIGNMENTS, n);
	}
}

static void each_alignment(void)
{
	fill();
	for (size_t align = 0; align < ALIGNMENTS; align++)
		for (size_t n = MOVE_LOOP_MIN; n < MOVE_LOOP_MIN + 300; n += 37) {
			check_copy(align, 0, n);
			check_copy(align, align, n);
			check_copy(0, align, n);
			check_zero(align, n);
		}
}

static void small(void)
{
	fill();
	for (size_t n = 0; n < 40; n++) {
		check_copy(n % 7, n % 5, n);
		check_zero(n % 7, n);
	}
}

/* Two mappings, each with a page of no access behind and before it. */
static unsigned char *fenced(size_t n)
{
	unsigned char *map = mmap(NULL, n + 2 * 4096, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(map != MAP_FAILED);
	MUST(!mprotect(map + 4096, n, PROT_READ | PROT_WRITE));
	return map + 4096;
}

static void nothing_beyond(void)
{
	const size_t room = MOVE_LOOP_MAX + 4096;
	unsigned char *dst = fenced(room), *src = fenced(room);

	for (size_t i = 0; i < room; i++)
		src[i] = (unsigned char)(i * 5 + i / 256 + 1);
	for (size_t cut = 0; cut < 130; cut += 13)
		for (size_t n = MOVE_LOOP_MIN; n <= MOVE_LOOP_MAX + 1; n = 2 * n - cut) {
			/* up to the end of both, and from the beginning */
			move_bytes(dst + room - n, src + room - n, n);
			CHECK(!memcmp(dst + room - n, src + room - n, n));
			move_bytes(dst, src, n);
			CHECK(!memcmp(dst, src, n));
			zero_bytes(dst + room - n, NULL, n);
			CHECK(!dst[room - 1] && !dst[room - n]);
			zero_bytes(dst, NULL, n);
			CHECK(!dst[0] && !dst[n - 1]);
		}
	munmap(dst - 4096, room + 8192);
	munmap(src - 4096, room + 8192);
}

/* The longest piece of the loop, and one more, which is not its. */
static void where_the_loop_ends(void)
{
	static unsigned char a[MOVE_LOOP_MAX + 2], b[MOVE_LOOP_MAX + 2];

	for (size_t n = MOVE_LOOP_MAX - 1; n <= MOVE_LOOP_MAX + 1; n++) {
		memset(a, 0x55, sizeof(a));
		memset(b, 0, sizeof(b));
		move_bytes(b, a, n);
		CHECK(!memcmp(a, b, n) && !b[n]);
		zero_bytes(a, NULL, n);
		CHECK(!a[0] && !a[n - 1] && a[n] == 0x55);
	}
}

static void zeroes(void)
{
	memset(to, 0, ROOM);
	for (size_t n = 0; n <= 64; n++) {
		CHECK(mem_is_zero(to + 1, n));
		for (size_t i = 0; i < n; i++) {
			to[1 + i] = 1;
			CHECK(!mem_is_zero(to + 1, n));
			to[1 + i] = 0;
		}
		to[0] = to[1 + n] = 1;	/* beside it */
		CHECK(mem_is_zero(to + 1, n));
		to[0] = to[1 + n] = 0;
	}
}

int main(void)
{
	plan(6);
	if (move_select())
		printf("# loop: %s\n", move_select()->name);
	run("each_length", each_length);
	run("each_alignment", each_alignment);
	run("small", small);
	run("nothing_beyond", nothing_beyond);
	run("where_the_loop_ends", where_the_loop_ends);
	run("zeroes", zeroes);
	return done();
}
