/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_stress_clone.c -- two threads, one writing to a file, one to its clone
 *
 * Each knows what its file must hold, byte by byte of those it writes, and sees
 * nothing else: neither the other's bytes nor those of a third file that takes
 * every block that is freed.  In rounds: the clone is made, both run, the clone
 * is looked at, its pages are deduped or not, and it goes away.
 */
#include "invariants.h"
#include "white_box.h"

enum { PAGES = PMD_PAGES + 64, FILES = 2, ROUNDS = 12, STEPS = 2500 };

struct thread {
	pthread_t thread;
	struct dax_mapping *mapping;
	struct dax_vma *big, *small;
	struct dax_mapping *scratch;	/* takes what is free */
	unsigned int seed, wrong;
	const char *where;
	unsigned char bytes[PAGES];
};

static struct thread threads[FILES];

static void wrong(struct thread *t, const char *where)
{
	t->wrong++;
	t->where = where;
}

static uint64_t byte_of(dax_pgoff_t page)
{
	return (page << DAX_PAGE_SHIFT) + page % 4000;
}

static dax_pgoff_t some_page(struct thread *t)
{
	return rnd(&t->seed, 2) ? rnd(&t->seed, PAGES) : rnd(&t->seed, 8);
}

static struct dax_vma *some_vma(struct thread *t)
{
	return rnd(&t->seed, 3) ? t->small : t->big;
}

static void store(struct thread *t)
{
	dax_pgoff_t page = some_page(t);
	unsigned char byte = (unsigned char)(1 + rnd(&t->seed, 200));

	if (dax_vma_write(some_vma(t), &byte, 1, byte_of(page), NULL) != 1)
		wrong(t, "store");
	else
		t->bytes[page] = byte;
}

static void pwrite_page(struct thread *t)
{
	dax_pgoff_t page = some_page(t);
	unsigned char byte = (unsigned char)(1 + rnd(&t->seed, 200));

	if (dax_mapping_pwrite(t->mapping, &byte, 1, (dax_loff_t)byte_of(page)) != 1)
		wrong(t, "pwrite");
	else
		t->bytes[page] = byte;
}

static void load(struct thread *t)
{
	dax_pgoff_t page = some_page(t);
	unsigned char byte = 0xee;

	if (dax_vma_read(some_vma(t), &byte, 1, byte_of(page), NULL) != 1 ||
	    byte != t->bytes[page])
		wrong(t, "load");
}

/* Several pages at once: all the bytes that are known. */
static void pread_pages(struct thread *t)
{
	static __thread unsigned char buf[4 * DAX_PAGE_SIZE];
	dax_pgoff_t page = some_page(t) % (PAGES - 4);

	if (dax_mapping_pread(t->mapping, buf, sizeof(buf),
			      (dax_loff_t)(page << DAX_PAGE_SHIFT)) != sizeof(buf))
		wrong(t, "pread");
	for (dax_pgoff_t i = 0; i < 4; i++)
		if (buf[byte_of(page + i) - (page << DAX_PAGE_SHIFT)] != t->bytes[page + i])
			wrong(t, "bytes of pread");
}

static void punch(struct thread *t)
{
	dax_pgoff_t page = some_page(t);

	if (dax_mapping_punch_hole(t->mapping, (dax_loff_t)(page << DAX_PAGE_SHIFT),
				   DAX_PAGE_SIZE))
		wrong(t, "punch");
	else
		t->bytes[page] = 0;
}

static void pin(struct thread *t)
{
	dax_pgoff_t page = some_page(t);
	unsigned char byte = (unsigned char)(1 + rnd(&t->seed, 200));
	int write = (int)rnd(&t->seed, 2);
	struct dax_pin pin;

	if (dax_pin_pages(t->mapping, (dax_loff_t)byte_of(page), 1, write, &pin) != 1) {
		wrong(t, "pin");
		return;
	}
	if (*(unsigned char *)pin.kaddr != t->bytes[page])
		wrong(t, "byte of a pin");
	if (write)
		*(unsigned char *)pin.kaddr = t->bytes[page] = byte;
	if (dax_unpin_pages(&pin, write))
		wrong(t, "unpin");
}

/* Take some free blocks, write to every byte that is looked at, give them back. */
static void steal(struct thread *t)
{
	static unsigned char buf[16 * DAX_PAGE_SIZE];
	dax_loff_t pos = (dax_loff_t)rnd(&t->seed, 64) * (dax_loff_t)sizeof(buf);

	if (!buf[0] && t == &threads[0])
		memset(buf, 0xdd, sizeof(buf));
	if (dax_mapping_pwrite(t->scratch, buf, sizeof(buf), pos) != sizeof(buf) ||
	    (rnd(&t->seed, 2) && dax_mapping_punch_hole(t->scratch, 0, 64 * sizeof(buf))))
		wrong(t, "scratch");
}

static void step(struct thread *t)
{
	static void (*const usual[])(struct thread *t) = {
		store, store, load, load, pwrite_page, pread_pages, pin,
	};

	if (rnd(&t->seed, 16))
		usual[rnd(&t->seed, 7)](t);
	else if (rnd(&t->seed, 4))
		steal(t);
	else
		punch(t);
}

static void *thread_main(void *arg)
{
	for (int i = 0; i < STEPS; i++)
		step(arg);
	return NULL;
}

static struct dax_vma *map(struct dax_mapping *mapping, unsigned int pages)
{
	struct dax_vma_attr attr = {
		.struct_size = sizeof(attr), .length = (uint64_t)PAGES << DAX_PAGE_SHIFT,
		.flags = RW_SHARED, .pages = pages,
	};
	struct dax_vma *vma;

	MUST(!dax_vma_new(&vma, mapping, &attr));
	return vma;
}

static void start(struct thread *t, struct dax_mapping *mapping)
{
	t->mapping = mapping;
	t->big = map(mapping, DAX_PAGES_AUTO);
	t->small = map(mapping, DAX_PAGES_PTE);
	MUST(!pthread_create(&t->thread, NULL, thread_main, t));
}

static void finish(struct thread *t)
{
	pthread_join(t->thread, NULL);
	EQ(t->wrong, 0);
	if (t->wrong)
		printf("# last: %s\n", t->where);
	check_invariants(t->mapping);
	dax_vma_put(t->big);
	dax_vma_put(t->small);
}

static void check_bytes(struct thread *t)
{
	unsigned int bad = 0;

	for (dax_pgoff_t page = 0; page < PAGES; page++) {
		unsigned char byte = 0xee;

		MUST(dax_mapping_pread(t->mapping, &byte, 1,
				       (dax_loff_t)byte_of(page)) == 1);
		bad += byte != t->bytes[page];
	}
	EQ(bad, 0);
}

/* Make the files alike again by sharing, page by page. */
static void dedupe(struct dax_mapping *clone)
{
	for (dax_pgoff_t page = 0; page < PAGES; page++) {
		dax_loff_t pos = (dax_loff_t)(page << DAX_PAGE_SHIFT);
		int64_t ret = dax_mapping_dedupe_range(clone, pos, fx.file, pos,
						       DAX_PAGE_SIZE);

		CHECK(ret == DAX_PAGE_SIZE || ret == -EBADE);
	}
}

static void round_of(struct dax_mapping *scratch)
{
	struct dax_mapping *clone = NULL;

	MUST(!dax_mapping_clone(&clone, fx.file));
	memcpy(threads[1].bytes, threads[0].bytes, PAGES);
	start(&threads[0], fx.file);
	start(&threads[1], clone);
	finish(&threads[0]);
	finish(&threads[1]);
	dedupe(clone);
	check_bytes(&threads[0]);
	check_bytes(&threads[1]);
	check_owners(fx.dev, (struct dax_mapping *[]){ fx.file, clone, scratch }, 3);
	dax_mapping_put(clone);
}

static void bytes_never_mix(void)
{
	struct dax_mapping_attr attr = { .struct_size = sizeof(attr),
					 .size = (dax_loff_t)PAGES << DAX_PAGE_SHIFT };
	struct dax_mapping *scratch;

	fx_open_real(PAGES);
	MUST(!dax_mapping_new(&scratch, fx.dev, &attr));
	dax_test.yield = jitter;
	for (unsigned int i = 0; i < FILES; i++)
		threads[i] = (struct thread){ .seed = 23 + i, .scratch = scratch };
	steal(&threads[0]);
	for (int i = 0; i < ROUNDS; i++)
		round_of(scratch);
	dax_test.yield = NULL;
	check_owners(fx.dev, (struct dax_mapping *[]){ fx.file, scratch }, 2);
	dax_mapping_put(scratch);
	fx_close();
}

int main(void)
{
	plan(1);
	run("60,000 operations on a file and its clone", bytes_never_mix);
	return done();
}
