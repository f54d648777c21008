/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_regress_clone.c -- blocks that are shared, and entries that show them
 *
 * Faults the kernel had here:
 *
 *   dirty_entry_of_before		a write got a copy of a shared block, the
 *					old entry was DIRTY, so that invalidation
 *					left it: mappings went on showing the
 *					old block
 *   shorter_of_two			dedupe compared as far as one file's
 *					extent reached, past that of the other
 *   zeroes_for_unwritten		unsharing a block set aside copied what it
 *					held, not zeroes
 *   counts_after_splits		which file a frame belonged to was noted
 *					in the frame and wrong after a 2 MiB
 *					entry gave way.  Here a frame knows only
 *					how many own it, and entries do not
 *					count: there is nothing to go wrong, and
 *					counts are looked at after every step
 *
 * And what this engine must not do: use a block again while somebody is still
 * inside of it through the file that has left it.
 */
#include "invariants.h"
#include "step.h"
#include "white_box.h"

enum { PAGES = 2 * PMD_PAGES, ADDR = 4 << 20 };

static void put(struct dax_mapping *mapping, dax_pgoff_t page, char byte)
{
	EQ(dax_mapping_pwrite(mapping, &byte, 1, (dax_loff_t)(page << DAX_PAGE_SHIFT)),
	   1);
}

static char get(struct dax_mapping *mapping, dax_pgoff_t page)
{
	char byte = '?';

	EQ(dax_mapping_pread(mapping, &byte, 1, (dax_loff_t)(page << DAX_PAGE_SHIFT)),
	   1);
	return byte;
}

/* ---- a block map that moves blocks ------------------------------------------------ */

/* The file's bytes lie at @addr of the device from now on. */
static void move_to(uint64_t addr, char byte)
{
	fx_answer(DAX_IOMAP_MAPPED, addr, DAX_IOMAP_F_NEW);
	for (uint64_t i = 0; i < PAGES; i++)
		fx.dev->window[addr + (i << DAX_PAGE_SHIFT)] = byte;
}

/* A store makes the entry DIRTY, the block map moves, then @again. */
static void moved(unsigned int pages, void (*again)(struct dax_vma *vma), char byte)
{
	struct dax_vma *vma, *reader;

	fx_open(PAGES);
	vma = fx_vma(0, PAGES, RW_SHARED, pages);
	reader = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_AUTO);
	move_to(0, 'o');
	store_page(vma, 3, 'd');
	EQ(load_page(reader, 3), 'd');
	move_to(ADDR, 'n');
	again(vma);
	EQ(load_page(reader, 3), byte);
	check_invariants(fx.file);
	dax_vma_put(reader);
	dax_vma_put(vma);
	fx_close();
}

static void by_pwrite(struct dax_vma *vma)
{
	(void)vma;
	put(fx.file, 3, 'w');
}

static void by_pwrite_elsewhere(struct dax_vma *vma)
{
	(void)vma;
	put(fx.file, 4, 'w');
}

static void by_fault(struct dax_vma *vma)
{
	EQ(dax_vma_fault(vma, 3, 0, NULL) & DAX_VM_FAULT_ERROR, 0);
}

static void by_store_of_a_small_vma(struct dax_vma *vma)
{
	struct dax_vma *small = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);

	(void)vma;
	store_page(small, 3, 'w');
	EQ(load_page(small, 4), 'n');
	dax_vma_put(small);
}

static void dirty_entry_of_before(void)
{
	moved(DAX_PAGES_PTE, by_pwrite, 'w');
	moved(DAX_PAGES_AUTO, by_pwrite, 'w');
	moved(DAX_PAGES_AUTO, by_pwrite_elsewhere, 'n');
	moved(DAX_PAGES_PTE, by_fault, 'n');
	moved(DAX_PAGES_PTE, by_store_of_a_small_vma, 'w');
	moved(DAX_PAGES_AUTO, by_store_of_a_small_vma, 'w');
}

/* The rest of the fault fails: the old frame is not shown any more either. */
static void gone_though_the_fault_fails(void)
{
	struct dax_vma *vma;

	fx_open(PAGES);
	vma = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	move_to(0, 'o');
	EQ(load_page(vma, 3), 'o');
	fx_answer(DAX_IOMAP_MAPPED, 512, DAX_IOMAP_F_NEW);	/* misaligned */
	CHECK(dax_vma_fault(vma, 3, 1, NULL) & DAX_VM_FAULT_SIGBUS);
	EQ(vma_soft_leaf(vma, 3), 0);
	check_tree_and_leaves(fx.file);
	dax_vma_put(vma);
	fx_close();
}

/* ---- extents of different lengths ---------------------------------------------------- */

static void fill_pages(struct dax_mapping *mapping, dax_pgoff_t first,
		       dax_pgoff_t nr, char byte)
{
	static char buf[64 * DAX_PAGE_SIZE];

	memset(buf, byte, sizeof(buf));
	EQ(dax_mapping_pwrite(mapping, buf, nr << DAX_PAGE_SHIFT,
			      (dax_loff_t)(first << DAX_PAGE_SHIFT)),
	   (ssize_t)(nr << DAX_PAGE_SHIFT));
}

/* One extent of 40 pages here; there blocks in turn with another file's, and
 * the difference lies behind the first extent. */
static void shorter_of_two(void)
{
	struct dax_mapping *other = NULL;
	struct dax_mapping_attr attr = { .struct_size = sizeof(attr),
					 .size = 80 * DAX_PAGE_SIZE };

	fx_open_real(80);
	MUST(!dax_mapping_new(&other, fx.dev, &attr));
	fill_pages(fx.file, 0, 40, 's');
	for (dax_pgoff_t i = 0; i < 40; i++) {
		fill_pages(other, i, 1, 's');
		fill_pages(other, 40 + i, 1, 'x');
	}
	put(other, 33, 'd');
	EQ(dax_mapping_dedupe_range(other, 0, fx.file, 0, 40 * DAX_PAGE_SIZE), -EBADE);
	put(other, 33, 's');
	EQ(dax_mapping_dedupe_range(other, 0, fx.file, 0, 40 * DAX_PAGE_SIZE),
	   40 * DAX_PAGE_SIZE);
	EQ(get(other, 40), 'x');
	check_owners(fx.dev, (struct dax_mapping *[]){ fx.file, other }, 2);
	dax_mapping_put(other);
	fx_close();
}

/* ---- two files ------------------------------------------------------------------------ */

static struct dax_mapping *clone, *third;
static struct dax_vma *vma, *clone_vma;

static void check_all(void)
{
	check_invariants(fx.file);
	check_invariants(clone);
	check_owners(fx.dev, (struct dax_mapping *[]){ fx.file, clone, third }, 3);
}

/* Four pages of 'o' that two files share, and a third file. */
static void set_up(void)
{
	struct dax_mapping_attr attr = { .struct_size = sizeof(attr),
					 .size = (dax_loff_t)DEVICE_PAGES << 12 };

	fx_open_real(4);
	fill_pages(fx.file, 0, 4, 'o');
	MUST(!dax_mapping_clone(&clone, fx.file));
	MUST(!dax_mapping_new(&third, fx.dev, &attr));
	vma = fx_vma(0, 4, RW_SHARED, DAX_PAGES_PTE);
	MUST(!dax_vma_new(&clone_vma, clone, &(struct dax_vma_attr){
		.struct_size = sizeof(struct dax_vma_attr), .length = 4 * DAX_PAGE_SIZE,
		.flags = RW_SHARED, .pages = DAX_PAGES_PTE }));
	dax_test = (struct dax_test_hooks){ .yield = step_yield, .no_spin = true };
}

static void tear_down(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	check_all();
	dax_vma_put(clone_vma);
	dax_vma_put(vma);
	dax_mapping_put(clone);
	dax_mapping_put(third);
	fx_close();
}

static dax_pgoff_t block_of(struct dax_mapping *mapping, dax_pgoff_t page)
{
	return inv_mapped_pfn(mapping, page) - fx.dev->pfn_base;
}

static void zeroes_for_unwritten(void)
{
	char page[DAX_PAGE_SIZE];

	set_up();
	/* Its blocks are stained, then set aside, then shared. */
	EQ(dax_mapping_punch_hole(fx.file, 0, 4 * DAX_PAGE_SIZE), 0);
	EQ(dax_mapping_punch_hole(clone, 0, 4 * DAX_PAGE_SIZE), 0);
	EQ(dax_mapping_fallocate(fx.file, 0, 4 * DAX_PAGE_SIZE), 0);
	EQ(dax_mapping_clone_range(clone, 0, fx.file, 0, 4 * DAX_PAGE_SIZE), 0);
	store_page(clone_vma, 0, 'c');
	put(clone, 1, 'c');
	for (dax_pgoff_t i = 0; i < 2; i++) {
		EQ(dax_mapping_pread(clone, page, sizeof(page),
				     (dax_loff_t)(i << DAX_PAGE_SHIFT)), DAX_PAGE_SIZE);
		EQ(page[0], 'c');
		page[0] = 0;
		CHECK(!memcmp(page, page + 1, sizeof(page) - 1));
	}
	EQ(get(fx.file, 0) + get(fx.file, 1), 0);
	tear_down();
}

/* ---- somebody is inside ------------------------------------------------------------------ */

struct reader {
	struct step step;
	char byte;
	struct dax_pin pin;
};

static void pread_body(void *arg)
{
	((struct reader *)arg)->byte = get(clone, 2);
}

static void load_body(void *arg)
{
	((struct reader *)arg)->byte = load_page(clone_vma, 2);
}

static void pin_body(void *arg)
{
	struct reader *r = arg;

	EQ(dax_pin_pages(clone, 2 * DAX_PAGE_SIZE, 1, 0, &r->pin), 1);
	r->byte = *(char *)r->pin.kaddr;
	EQ(dax_unpin_pages(&r->pin, 0), 0);
}

/* The other owner leaves the block too, and a third file takes whatever is
 * free, and with it that block if it is. */
static void reuse(void)
{
	EQ(dax_mapping_punch_hole(fx.file, 0, 4 * DAX_PAGE_SIZE), 0);
	for (dax_pgoff_t i = 0; fx.dev->blocks.nr_free; i++)
		put(third, i, 'x');
}

/* A reader has found the block, at @point; a store in another thread gives the
 * file another one, and the old one is free for all but for the reader. */
static void reader_inside(void (*body)(void *), int point)
{
	struct reader r = { 0 };
	dax_pgoff_t block;

	set_up();
	block = block_of(clone, 2);
	step_start(&r.step, body, &r, point);
	MUST(step_parked(&r.step));
	store_page(clone_vma, 2, 'n');
	CHECK(block_of(clone, 2) != block);
	reuse();
	step_go(&r.step, STEP_NOWHERE);
	step_join(&r.step);
	CHECK(r.byte == 'o' || r.byte == 'n');
	tear_down();
}

static void pread_inside(void)
{
	reader_inside(pread_body, DAX_TEST_BLOCK_FOUND);
	reader_inside(pread_body, DAX_TEST_FRAME_SEEN);
	reader_inside(pread_body, DAX_TEST_FRAME_PINNED);
}

/* Once it is pinned the other owner waits for it: test_layout.c. */
static void pin_inside(void)
{
	reader_inside(pin_body, DAX_TEST_FRAME_SEEN);
}

static void store_body(void *arg)
{
	(void)arg;
	store_page(clone_vma, 2, 'n');
}

static void pwrite_body(void *arg)
{
	(void)arg;
	put(clone, 2, 'n');
}

/* A load stands inside the frame: a store that unshares waits for it before it
 * leaves the block.  (It could be seen to leave too early; it cannot be seen to
 * wait, so it is given some turns.) */
static void load_inside(void (*body)(void *))
{
	struct step writer;
	struct reader r = { 0 };
	bool left = false;

	set_up();
	EQ(load_page(clone_vma, 2), 'o');
	step_start(&r.step, load_body, &r, DAX_TEST_STORE_INSIDE);
	MUST(step_parked(&r.step));
	step_start(&writer, body, NULL, DAX_TEST_UNSHARED);
	for (int i = 0; i < 2000 && !left; i++) {
		sched_yield();
		pthread_mutex_lock(&writer.lock);
		left = writer.parked;
		pthread_mutex_unlock(&writer.lock);
	}
	CHECK(!left);
	step_go(&r.step, STEP_NOWHERE);
	step_join(&r.step);
	EQ(r.byte, 'o');
	MUST(step_parked(&writer));
	step_go(&writer, STEP_NOWHERE);
	step_join(&writer);
	tear_down();
}

static void loads_inside(void)
{
	load_inside(store_body);
	load_inside(pwrite_body);
}

struct faulter {
	struct step step;
	int ret;
};

static void fault_body(void *arg)
{
	((struct faulter *)arg)->ret = dax_vma_fault(clone_vma, 2, 0, NULL);
}

/* A read fault has asked the block map and been told the old block; a write
 * moves on.  The write does not leave the block before the fault's entry and
 * leaf are gone again. */
static void read_fault_beside_a_write(void)
{
	struct faulter f = { 0 };
	struct step writer;

	set_up();
	step_start(&f.step, fault_body, &f, DAX_TEST_AFTER_IOMAP);
	MUST(step_parked(&f.step));
	step_start_asleep(&writer, pwrite_body, NULL, DAX_TEST_UNSHARED);
	step_go(&f.step, STEP_NOWHERE);
	step_join(&f.step);
	EQ(f.ret, DAX_VM_FAULT_NOPAGE);
	MUST(step_parked(&writer));
	EQ(vma_soft_leaf(clone_vma, 2), 0);
	step_go(&writer, STEP_NOWHERE);
	step_join(&writer);
	EQ(load_page(clone_vma, 2), 'n');
	tear_down();
}

static void other_byte_body(void *arg)
{
	char byte = 'w';

	if (arg)
		EQ(dax_vma_write(clone_vma, &byte, 1, 2 * DAX_PAGE_SIZE + 9, NULL), 1);
	else
		EQ(dax_mapping_pwrite(clone, &byte, 1, 2 * DAX_PAGE_SIZE + 9), 1);
}

/* A block was shared when its copy was made, and is not when the other owner
 * has left: a second write of the same file must not go to the old block
 * meanwhile, where nobody will look for it.  (It waits for the block map's lock;
 * if it did not it would be done in these turns.) */
static void last_owner_beside_a_copy(bool fault_copies)
{
	struct step copier, writer;
	char byte = '?';

	set_up();
	step_start(&copier, fault_copies ? store_body : pwrite_body, NULL,
		   DAX_TEST_UNSHARE_COPIED);
	MUST(step_parked(&copier));
	EQ(dax_mapping_punch_hole(fx.file, 2 * DAX_PAGE_SIZE, DAX_PAGE_SIZE), 0);
	step_start(&writer, other_byte_body, fault_copies ? NULL : &byte, STEP_NOWHERE);
	for (int i = 0; i < 2000; i++)
		sched_yield();
	step_go(&copier, STEP_NOWHERE);
	step_join(&copier);
	step_join(&writer);
	EQ(get(clone, 2), 'n');
	EQ(dax_mapping_pread(clone, &byte, 1, 2 * DAX_PAGE_SIZE + 9), 1);
	EQ(byte, 'w');
	tear_down();
}

static void no_write_is_lost(void)
{
	last_owner_beside_a_copy(true);
	last_owner_beside_a_copy(false);
}

/* A pwrite has found the block in the map; a store in another thread gives the
 * file another one and leaves that to its other owner.  It looks like a block of
 * one owner now, but that is the other file. */
static void left_before_it_is_looked_at(void)
{
	struct step writer;
	char byte = '?';

	set_up();
	step_start(&writer, other_byte_body, NULL, DAX_TEST_BLOCK_FOUND);
	MUST(step_parked(&writer));
	store(clone_vma, 2, 'n');
	step_go(&writer, STEP_NOWHERE);
	step_join(&writer);
	EQ(dax_mapping_pread(fx.file, &byte, 1, 2 * DAX_PAGE_SIZE + 9), 1);
	EQ(byte, 'o');
	EQ(get(clone, 2), 'n');
	EQ(dax_mapping_pread(clone, &byte, 1, 2 * DAX_PAGE_SIZE + 9), 1);
	EQ(byte, 'w');
	tear_down();
}

/* Both owners store at once: each finds the block shared and copies; the one
 * that comes last frees it. */
static void both_unshare(void)
{
	uint64_t left;
	struct step a;

	set_up();
	left = fx.dev->blocks.nr_free;
	step_start(&a, store_body, NULL, DAX_TEST_UNSHARED);
	MUST(step_parked(&a));
	store_page(vma, 2, 'a');
	EQ(fx.dev->blocks.nr_free, left - 2);
	step_go(&a, STEP_NOWHERE);
	step_join(&a);
	EQ(fx.dev->blocks.nr_free, left - 1);
	EQ(get(fx.file, 2), 'a');
	EQ(get(clone, 2), 'n');
	tear_down();
}

/* ---- counts ------------------------------------------------------------------------------- */

static void counts_after_splits(void)
{
	struct dax_vma *huge, *small, *other;
	struct dax_pin pin;

	fx_open_real(PAGES);
	for (dax_pgoff_t i = 0; i < PMD_PAGES; i += 64)
		fill_pages(fx.file, i, 64, 'o');
	MUST(!dax_mapping_clone(&clone, fx.file));
	MUST(!dax_mapping_clone(&third, clone));
	huge = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_AUTO);
	small = fx_vma(0, PAGES, RW_SHARED, DAX_PAGES_PTE);
	MUST(!dax_vma_new(&other, clone, &(struct dax_vma_attr){
		.struct_size = sizeof(struct dax_vma_attr), .length = PAGES << 12,
		.flags = RW_SHARED }));
	check_all();
	EQ(load_page(huge, 0), 'o');			/* a 2 MiB entry, shared */
	EQ(load_page(huge, PMD_PAGES), 0);		/* and one that is zero */
	store_page(small, PMD_PAGES + 5, 'a');	/* downgrade */
	check_all();
	store_page(small, 7, 'a');			/* split */
	check_all();
	EQ(dax_mapping_punch_hole(fx.file, 9 * DAX_PAGE_SIZE, DAX_PAGE_SIZE), 0);
	EQ(load_page(other, 7), 'o');
	store_page(other, 8, 'c');			/* all 2 MiB of the clone */
	check_all();
	EQ(dax_pin_pages(fx.file, 20 * DAX_PAGE_SIZE, 8 * DAX_PAGE_SIZE, 1, &pin) > 0, 1);
	EQ(load_page(huge, 21), 'o');
	EQ(dax_unpin_pages(&pin, 1), 0);
	check_all();
	EQ(dax_mapping_truncate(clone, 100 * DAX_PAGE_SIZE + 1), 0);
	check_all();
	EQ(dax_mapping_dedupe_range(fx.file, 30 * DAX_PAGE_SIZE, third,
				    30 * DAX_PAGE_SIZE, 64 * DAX_PAGE_SIZE),
	   64 * DAX_PAGE_SIZE);
	check_all();
	dax_vma_put(other);
	dax_vma_put(small);
	dax_vma_put(huge);
	dax_mapping_put(clone);
	dax_mapping_put(third);
	check_owners(fx.dev, &fx.file, 1);
	fx_close();
}

int main(void)
{
	plan(12);
	run("a dirty entry of before does not hide the new block",
	    dirty_entry_of_before);
	run("the old block is not shown though the fault fails",
	    gone_though_the_fault_fails);
	run("the shorter of two extents is compared", shorter_of_two);
	run("a block set aside is zeroes when it is unshared", zeroes_for_unwritten);
	run("a read is inside of a block that is left", pread_inside);
	run("a pin is on its way to a block that is left", pin_inside);
	run("a load is inside of a block that is left", loads_inside);
	run("a read fault beside a write that unshares", read_fault_beside_a_write);
	run("the other owner leaves while a block is copied", no_write_is_lost);
	run("a write finds a block that the file leaves before it looks whose it is",
	    left_before_it_is_looked_at);
	run("both owners store at once", both_unshare);
	run("counts after downgrades and splits", counts_after_splits);
	return done();
}
