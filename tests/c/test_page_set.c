/* SPDX-License-Identifier: BSD-3-Clause */
/* test_page_set.c -- a set of page numbers: bits, chunks, runs, memory */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "fixture.h"
#include "oom.h"
#include "page_set.h"

#define CHUNK	((uint64_t)PAGE_SET_CHUNK_PAGES)

static struct page_set set;

static void make(uint64_t nr_pages)
{
	MUST(!page_set_init(&set, nr_pages));
}

static uint64_t run_of(dax_pgoff_t first, dax_pgoff_t last, bool in)
{
	uint64_t nr = 0;

	EQ(page_set_run(&set, first, last, &nr), in);
	return nr;
}

static void empty(void)
{
	make(1 << 28);
	CHECK(!page_set_test(&set, 0));
	CHECK(!page_set_test(&set, (1 << 28) - 1));
	EQ(run_of(0, (1 << 28) - 1, false), 1 << 28);
	EQ(run_of(7, 7, false), 1);
	EQ(page_set_bytes(&set), (1 << 28) / CHUNK);
	page_set_fini(&set);
}

static void borders(void)
{
	make(4 * CHUNK);
	page_set_add(&set, 63, 64);		/* two words */
	EQ(run_of(0, 200, false), 63);
	EQ(run_of(63, 200, true), 2);
	EQ(run_of(63, 63, true), 1);
	EQ(run_of(65, 200, false), 136);
	page_set_add(&set, CHUNK - 1, CHUNK);	/* two chunks */
	EQ(run_of(65, 4 * CHUNK - 1, false), CHUNK - 66);
	EQ(run_of(CHUNK - 1, 4 * CHUNK - 1, true), 2);
	EQ(run_of(CHUNK + 1, 4 * CHUNK - 1, false), 3 * CHUNK - 1);
	EQ(page_set_bytes(&set), 4 + 2 * 4096);
	page_set_assign(&set, 64, 64, false);
	EQ(run_of(63, 200, true), 1);
	EQ(run_of(64, 65, false), 2);
	page_set_fini(&set);
}

/* A whole chunk is a byte; a part of it has bits again, all as they were. */
static void uniform_chunks(void)
{
	make(4 * CHUNK);
	page_set_assign(&set, 0, 3 * CHUNK - 1, true);
	EQ(page_set_bytes(&set), 4);
	EQ(run_of(0, 4 * CHUNK - 1, true), 3 * CHUNK);
	page_set_assign(&set, CHUNK + 5, CHUNK + 5, false);
	EQ(page_set_bytes(&set), 4 + 4096);
	EQ(run_of(0, 4 * CHUNK - 1, true), CHUNK + 5);
	EQ(run_of(CHUNK + 6, 4 * CHUNK - 1, true), 2 * CHUNK - 6);
	page_set_assign(&set, 0, 4 * CHUNK - 1, false);
	EQ(page_set_bytes(&set), 4);
	page_set_add(&set, CHUNK + 7, CHUNK + 7);	/* old bits are gone */
	EQ(run_of(CHUNK, 4 * CHUNK - 1, false), 7);
	EQ(run_of(CHUNK + 8, 4 * CHUNK - 1, false), 3 * CHUNK - 8);
	page_set_fini(&set);
}

/* Adding beside readers never takes a chunk's bits away. */
static void adding_keeps_bits(void)
{
	make(2 * CHUNK);
	page_set_add(&set, 3, 3);
	page_set_add(&set, 0, CHUNK - 1);
	EQ(page_set_bytes(&set), 2 + 4096);
	EQ(run_of(0, 2 * CHUNK - 1, true), CHUNK);
	page_set_fini(&set);
}

/* Against an array of bools. */
static void model(void)
{
	enum { NR = 3 * PAGE_SET_CHUNK_PAGES };
	static bool in[NR];
	uint64_t state = 7;

	make(NR);
	for (int i = 0; i < 2000; i++) {
		uint64_t first = next_random(&state) % NR;
		uint64_t last = first + next_random(&state) % (i % 9 ? 200 : NR);
		bool value = next_random(&state) & 1;
		uint64_t at, nr;

		if (last >= NR)
			last = NR - 1;
		if (i % 50 == 0) {
			first = CHUNK;
			last = 2 * CHUNK - 1;
		}
		if (value && i % 3)
			page_set_add(&set, first, last);
		else
			page_set_assign(&set, first, last, value);
		memset(in + first, value, last - first + 1);
		at = next_random(&state) % NR;
		EQ(page_set_run(&set, at, NR - 1, &nr), in[at]);
		for (uint64_t j = at; j < NR; j++)
			if (in[j] != in[at] || j == NR - 1) {
				EQ(nr, in[j] != in[at] ? j - at : NR - at);
				break;
			}
	}
	for (uint64_t i = 0; i < NR; i++)
		if (page_set_test(&set, i) != in[i]) {
			CHECK(!"a page differs");
			break;
		}
	page_set_fini(&set);
}

static _Atomic dax_pgoff_t added;	/* pages below are in */
static _Atomic bool stop;

static void *reader(void *arg)
{
	uint64_t *wrong = arg;

	while (!stop) {
		dax_pgoff_t known = added;
		uint64_t nr;

		if (known && !page_set_test(&set, known - 1))
			++*wrong;
		if (known && (!page_set_run(&set, 0, 2 * CHUNK - 1, &nr) || nr < known))
			++*wrong;
	}
	return NULL;
}

static void beside_a_reader(void)
{
	uint64_t wrong = 0;
	pthread_t thread;

	make(2 * CHUNK);
	MUST(!pthread_create(&thread, NULL, reader, &wrong));
	for (dax_pgoff_t page = 0; page < 2 * CHUNK; page++) {
		page_set_add(&set, page, page);
		added = page + 1;
	}
	stop = true;
	pthread_join(thread, NULL);
	EQ(wrong, 0);
	page_set_fini(&set);
}

static void no_memory(void)
{
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = page_set_init(&set, CHUNK);
		oom_clear();
		if (!oom_fired()) {
			page_set_fini(&set);
			break;
		}
		EQ(ret, -ENOMEM);
		CHECK(errormsg_has("holes of 32768 pages"));
	}
	EQ(oom_rounds(), 2);
}

int main(void)
{
	plan(7);
	run("empty", empty);
	run("borders of words and chunks", borders);
	run("uniform chunks have no bits", uniform_chunks);
	run("adding keeps bits", adding_keeps_bits);
	run("model", model);
	run("beside a reader", beside_a_reader);
	run("no memory", no_memory);
	return done();
}
