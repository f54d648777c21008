/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_entry_lock.c -- what a grab comes to, cell by cell, and who is woken
 *
 * The cells are those of the grab table: request 4 KiB or 2 MiB, against what
 * is found at the index once it is unlocked.
 */
#include "white_box.h"
#include "invariants.h"
#include "oom.h"
#include "step.h"

enum {
	BASE = PMD_PAGES,		/* first page of the 2 MiB under test */
	INNER = PMD_PAGES + 188,	/* some page inside */
	EMPTY_LOCKED = 0x26,
	EMPTY_PMD_LOCKED = 0x2e
};

static struct dax_slot slot;

static void set_up(void)
{
	fx_open(4 * PMD_PAGES);
	dax_test = (struct dax_test_hooks){ .yield = step_yield, .no_spin = true };
}

static void tear_down(void)
{
	dax_test = (struct dax_test_hooks){ 0 };
	check_tree_and_leaves(fx.file);
	fx_close();
}

static int grab(dax_pgoff_t index, unsigned int order)
{
	enter();
	dax_slot_init(&slot, fx.file, fx.area, index);
	return grab_mapping_entry(&slot, order);
}

static void put(void)
{
	put_locked_mapping_entry(&slot);
	leave();
}

static dax_entry_t slot_word(void)
{
	return dax_from_slot(slot.iter.entry);
}

/* The grab locked what was there, @word with the lock bit, and nothing else
 * changed; the put restores it. */
static void check_locks(dax_pgoff_t index, unsigned int order,
			dax_pgoff_t canonical, dax_entry_t before)
{
	uint64_t nr = entries();

	EQ(grab(index, order), 0);
	EQ(slot_word(), before | DAX_LOCKED);
	EQ(word_at(index), before | DAX_LOCKED);
	EQ(slot.iter.index, canonical);
	EQ(entries(), nr);
	put();
	EQ(word_at(index), before);
}

/* The grab refuses, and nothing changed. */
static void check_refuses(dax_pgoff_t index, unsigned int order, int err)
{
	dax_entry_t before = word_at(index);
	uint64_t nr = entries();

	EQ(grab(index, order), err);
	leave();
	EQ(word_at(index), before);
	EQ(entries(), nr);
}

/* ---- a 4 KiB request ------------------------------------------------------------- */

static void pte_absent(void)
{
	set_up();
	EQ(grab(INNER, 0), 0);
	EQ(word_at(INNER), EMPTY_LOCKED);
	EQ(slot_word(), EMPTY_LOCKED);
	EQ(entries(), 1);
	put();
	EQ(word_at(INNER), 0x22);
	EQ(word_at(INNER + 1), 0);
	EQ(word_at(INNER - 1), 0);
	tear_down();
}

/* The node is there: the inline path. */
static void pte_absent_beside_another(void)
{
	set_up();
	plant(INNER + 1, 0, DAX_ZERO_PAGE);
	EQ(grab(INNER, 0), 0);
	EQ(word_at(INNER), EMPTY_LOCKED);
	EQ(entries(), 2);
	put();
	EQ(word_at(INNER), 0x22);
	EQ(word_at(INNER + 1), 0x12);
	tear_down();
}

static void pte_on_empty(void)
{
	set_up();
	plant(INNER, 0, DAX_EMPTY);
	check_locks(INNER, 0, INNER, word(0, DAX_EMPTY));
	tear_down();
}

static void pte_on_zero(void)
{
	set_up();
	plant(INNER, 0, DAX_ZERO_PAGE);
	check_locks(INNER, 0, INNER, word(0, DAX_ZERO_PAGE));
	tear_down();
}

static void pte_on_data(void)
{
	set_up();
	plant(INNER, device_pfn(3), 0);
	check_locks(INNER, 0, INNER, word(device_pfn(3), 0));
	tear_down();
}

static void pte_on_pmd_data(void)
{
	set_up();
	plant(BASE, device_pfn(512), DAX_PMD);
	check_locks(INNER, 0, BASE, word(device_pfn(512), DAX_PMD));
	EQ(count(DAX_STAT_DOWNGRADE), 0);
	tear_down();
}

/* One page is left of the 2 MiB, EMPTY, and it is ours. */
static void check_downgraded(void)
{
	EQ(word_at(INNER), EMPTY_LOCKED);
	EQ(slot_word(), EMPTY_LOCKED);
	EQ(slot.iter.order, 0);
	for (dax_pgoff_t i = BASE; i < BASE + PMD_PAGES; i++)
		if (i != INNER)
			CHECK(!word_at(i));
	EQ(entries(), 1);
	EQ(count(DAX_STAT_DOWNGRADE), 1);
}

static unsigned int nr_zaps;
static dax_pgoff_t zap_first, zap_last;
static bool zap_cows;
static dax_entry_t zap_word;

/* Stands in for a page table: what was it told, and when? */
static void record_zap(struct dax_vma *vma, dax_pgoff_t first, dax_pgoff_t last,
		       bool even_cows)
{
	(void)vma;
	nr_zaps++;
	zap_first = first;
	zap_last = last;
	zap_cows = even_cows;
	zap_word = word_at(INNER);
}

static const struct dax_vm_ops recording = { .zap = record_zap };

/* Link a vma that records into the file; no page table behind it. */
static void link_recorder(struct dax_vma *vma)
{
	*vma = (struct dax_vma){ .vm_ops = &recording, .mapping = fx.file,
				 .nr_pages = 4 * PMD_PAGES };
	nr_zaps = 0;
	fx.file->i_mmap = vma;
}

static void pte_on_pmd_zero(void)
{
	struct dax_vma vma;

	set_up();
	plant(BASE, 0, DAX_PMD | DAX_ZERO_PAGE);
	link_recorder(&vma);
	EQ(grab(INNER, 0), 0);
	EQ(nr_zaps, 1);
	EQ(zap_first, BASE);
	EQ(zap_last, BASE + PMD_PAGES - 1);
	CHECK(!zap_cows);
	EQ(zap_word, 0x1e);	/* locked, and still there */
	check_downgraded();
	put();
	fx.file->i_mmap = NULL;
	tear_down();
}

static void pte_on_pmd_empty(void)
{
	struct dax_vma vma;

	set_up();
	plant(BASE, 0, DAX_PMD | DAX_EMPTY);
	link_recorder(&vma);
	EQ(grab(INNER, 0), 0);
	EQ(nr_zaps, 0);
	check_downgraded();
	put();
	fx.file->i_mmap = NULL;
	tear_down();
}

static char a_page[64] __aligned(64);

/* A page pointer goes in and out by hand: this policy knows none. */
static void plant_page(dax_pgoff_t index, unsigned int order)
{
	struct radix_tree_iter iter;

	MUST(!radix_tree_insert(&fx.file->i_pages, index, order, a_page, &iter));
}

static void pte_on_page(void)
{
	set_up();
	plant_page(INNER, 0);
	check_refuses(INNER, 0, -EIO);
	overwrite(INNER, 0);
	tear_down();
}

/* ---- a 2 MiB request ------------------------------------------------------------- */

static void pmd_absent(void)
{
	set_up();
	EQ(grab(BASE, DAX_PMD_ORDER), 0);
	EQ(slot_word(), EMPTY_PMD_LOCKED);
	EQ(word_at(BASE), EMPTY_PMD_LOCKED);
	EQ(word_at(BASE + PMD_PAGES - 1), EMPTY_PMD_LOCKED);
	EQ(word_at(BASE - 1), 0);
	EQ(word_at(BASE + PMD_PAGES), 0);
	EQ(entries(), 1);
	put();
	EQ(word_at(INNER), 0x2a);
	tear_down();
}

static void pmd_absent_beside_another(void)
{
	set_up();
	plant(0, 0, DAX_PMD | DAX_ZERO_PAGE);
	EQ(grab(BASE, DAX_PMD_ORDER), 0);
	EQ(word_at(INNER), EMPTY_PMD_LOCKED);
	EQ(entries(), 2);
	put();
	tear_down();
}

static void pmd_with_pte_elsewhere(void)
{
	set_up();
	plant(INNER, 0, DAX_ZERO_PAGE);
	check_refuses(BASE, DAX_PMD_ORDER, -EEXIST);
	EQ(word_at(INNER), 0x12);
	tear_down();
}

static void check_pmd_refused_by(dax_pfn_t pfn, unsigned int flags)
{
	set_up();
	plant(BASE, pfn, flags);
	check_refuses(BASE, DAX_PMD_ORDER, -EEXIST);
	tear_down();
}

static void pmd_on_pte_empty(void)
{
	check_pmd_refused_by(0, DAX_EMPTY);
}

static void pmd_on_pte_zero(void)
{
	check_pmd_refused_by(0, DAX_ZERO_PAGE);
}

static void pmd_on_pte_data(void)
{
	check_pmd_refused_by(7, 0);
}

static void check_pmd_locks(dax_pfn_t pfn, unsigned int flags)
{
	struct dax_vma vma;

	set_up();
	plant(BASE, pfn, flags | DAX_PMD);
	link_recorder(&vma);
	check_locks(BASE, DAX_PMD_ORDER, BASE, word(pfn, flags | DAX_PMD));
	EQ(nr_zaps, 0);
	EQ(count(DAX_STAT_DOWNGRADE), 0);
	fx.file->i_mmap = NULL;
	tear_down();
}

static void pmd_on_pmd_data(void)
{
	check_pmd_locks(512, 0);
}

static void pmd_on_pmd_zero(void)
{
	check_pmd_locks(0, DAX_ZERO_PAGE);
}

static void pmd_on_pmd_empty(void)
{
	check_pmd_locks(0, DAX_EMPTY);
}

/* A page of 4 KiB lies below a node, and what makes the request fail is the
 * node; a pointer where a PMD entry would stand is met as what it is. */
static void pmd_on_page(void)
{
	set_up();
	plant_page(BASE, 0);
	check_refuses(BASE, DAX_PMD_ORDER, -EEXIST);
	overwrite(BASE, 0);
	tear_down();
	set_up();
	plant_page(BASE, DAX_PMD_ORDER);
	check_refuses(BASE, DAX_PMD_ORDER, -EIO);
	check_refuses(INNER, 0, -EIO);
	overwrite(BASE, 0);
	tear_down();
}

/* ---- the downgrade, step by step -------------------------------------------------- */

static void grab_inner(void *arg)
{
	struct percpu_area *area;
	struct dax_slot own;

	(void)arg;
	MUST(!mapping_lock_shared(fx.file, &area));
	dax_slot_init(&own, fx.file, area, INNER);
	EQ(grab_mapping_entry(&own, 0), 0);
	put_locked_mapping_entry(&own);
	mapping_unlock_shared(fx.file, area);
}

/* Lock the leaves away first, then the node, then the waiters. */
static void downgrade_order(void)
{
	struct dax_vma *vma;
	struct step a;

	set_up();
	vma = fx_vma(0, 4 * PMD_PAGES, RW_SHARED, DAX_PAGES_AUTO);
	CHECK(dax_vma_fault(vma, BASE, 0, NULL) == DAX_VM_FAULT_NOPAGE);
	CHECK(vma_soft_leaf(vma, INNER) & LEAF_HUGE);
	EQ(word_at(BASE), 0x1a);
	step_start(&a, grab_inner, NULL, DAX_TEST_DOWNGRADE);
	CHECK(step_parked(&a));
	EQ(vma_soft_leaf(vma, INNER), 0);	/* the leaves are gone */
	EQ(word_at(BASE), 0x1e);		/* the entry is there, locked */
	EQ(word_at(INNER), 0x1e);
	step_go(&a, DAX_TEST_BEFORE_UNLOCK);
	CHECK(step_parked(&a));
	EQ(word_at(INNER), EMPTY_LOCKED);	/* one store later */
	EQ(word_at(BASE), 0);
	step_go(&a, STEP_NOWHERE);
	step_join(&a);
	EQ(word_at(INNER), 0x22);
	dax_vma_put(vma);
	tear_down();
}

static void downgrade_keeps_private_copies(void)
{
	struct dax_vma *shared, *private;
	char byte = 'p';

	set_up();
	shared = fx_vma(0, 4 * PMD_PAGES, RW_SHARED, DAX_PAGES_AUTO);
	private = fx_vma(0, 4 * PMD_PAGES, RW_PRIVATE, DAX_PAGES_AUTO);
	EQ(dax_vma_write(private, &byte, 1, (uint64_t)BASE << DAX_PAGE_SHIFT, NULL), 1);
	overwrite(BASE, 0);		/* the EMPTY entry of the copy's fault */
	percpu_inc(this_percpu(&fx.file->percpu), DAX_STAT_ENTRY_DELETE);
	MUST(!mapping_lock_exclusive(fx.file));
	radix_tree_prune(&fx.file->i_pages);
	mapping_unlock_exclusive(fx.file);
	EQ(dax_vma_fault(shared, BASE, 0, NULL), DAX_VM_FAULT_NOPAGE);
	EQ(word_at(BASE), 0x1a);
	EQ(grab(INNER, 0), 0);
	put();
	EQ(vma_soft_leaf(shared, BASE), 0);
	CHECK(vma_soft_leaf(private, BASE) & LEAF_ANON);
	dax_vma_put(private);
	dax_vma_put(shared);
	tear_down();
}

static void downgrade_without_memory(void)
{
	set_up();
	plant(BASE, 0, DAX_PMD | DAX_ZERO_PAGE);
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = grab(INNER, 0);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			put();
			break;
		}
		EQ(ret, -ENOMEM);
		leave();
		EQ(word_at(BASE), 0x1a);	/* there, and not locked */
		EQ(entries(), 1);
	}
	CHECK(oom_rounds() > 0);
	tear_down();
}

static void insert_without_memory(unsigned int order)
{
	set_up();
	enter();	/* the thread's area is made before */
	leave();
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = grab(BASE, order);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			put();
			break;
		}
		EQ(ret, -ENOMEM);
		leave();
		EQ(entries(), 0);
		EQ(radix_tree_bytes(&fx.file->i_pages), 0);
	}
	CHECK(oom_rounds() > 0);
	tear_down();
}

static void pte_without_memory(void)
{
	insert_without_memory(0);
}

static void pmd_without_memory(void)
{
	insert_without_memory(DAX_PMD_ORDER);
}

/* ---- waiting --------------------------------------------------------------------------- */

/* A thread that gets an entry, and locks it or leaves it. */
struct waiter {
	struct step step;
	dax_pgoff_t index;
	bool locks;
	dax_entry_t found;
};

static bool wants(const struct dax_slot *own, const void *arg)
{
	const struct waiter *w = arg;

	return own->iter.entry && w->locks;
}

static void wait_body(void *arg)
{
	struct waiter *w = arg;
	struct percpu_area *area;
	struct dax_slot own;
	bool locked;

	MUST(!mapping_lock_shared(fx.file, &area));
	dax_slot_init(&own, fx.file, area, w->index);
	locked = lock_slot_if(&own, wants, w);
	w->found = dax_from_slot(own.iter.entry) & ~(dax_entry_t)DAX_LOCKED;
	if (locked)
		put_locked_mapping_entry(&own);
	mapping_unlock_shared(fx.file, area);
}

static void start_waiters(struct waiter *w, int nr, dax_pgoff_t index, bool locks)
{
	for (int i = 0; i < nr; i++) {
		w[i] = (struct waiter){ .index = index, .locks = locks };
		step_start_asleep(&w[i].step, wait_body, &w[i], STEP_NOWHERE);
	}
}

static void join_waiters(struct waiter *w, int nr)
{
	for (int i = 0; i < nr; i++)
		step_join(&w[i].step);
}

static unsigned int queued(dax_pgoff_t index)
{
	return wait_count((struct exceptional_entry_key){
		.owner = fx.file, .entry_start = index });
}

enum { WAITERS = 5 };

static void unlock_wakes_one_who_wakes_the_next(bool locks)
{
	struct waiter w[WAITERS];

	set_up();
	EQ(grab(INNER, 0), 0);
	start_waiters(w, WAITERS, INNER, locks);
	EQ(queued(INNER), WAITERS);
	EQ(count(DAX_STAT_ENTRY_WAIT), WAITERS);
	put();
	join_waiters(w, WAITERS);
	for (int i = 0; i < WAITERS; i++)
		EQ(w[i].found, 0x22);
	EQ(queued(INNER), 0);
	EQ(word_at(INNER), 0x22);
	tear_down();
}

static void waiters_that_lock(void)
{
	unlock_wakes_one_who_wakes_the_next(true);
}

static void waiters_that_leave(void)
{
	unlock_wakes_one_who_wakes_the_next(false);
}

/* One wake-up for one unlock: the others sleep until it is passed on. */
static void unlock_wakes_one_only(void)
{
	struct waiter w[2];

	set_up();
	EQ(grab(INNER, 0), 0);
	for (int i = 0; i < 2; i++) {
		w[i] = (struct waiter){ .index = INNER, .locks = true };
		step_start_asleep(&w[i].step, wait_body, &w[i], DAX_TEST_WOKEN);
	}
	put();
	CHECK(step_parked(&w[0].step));	/* first come, first served */
	EQ(queued(INNER), 1);
	step_go(&w[0].step, STEP_NOWHERE);
	CHECK(step_parked(&w[1].step));
	EQ(queued(INNER), 0);
	step_go(&w[1].step, STEP_NOWHERE);
	join_waiters(w, 2);
	tear_down();
}

/* As they all wait for something that is gone, they are all told at once. */
static unsigned int asleep_after_delete(void)
{
	struct waiter w[WAITERS];
	unsigned int asleep;

	set_up();
	EQ(grab(INNER, 0), 0);
	start_waiters(w, WAITERS, INNER, true);
	dax_delete_locked_entry(&slot);
	asleep = queued(INNER);
	leave();
	join_waiters(w, WAITERS);
	for (int i = 0; i < WAITERS; i++)
		EQ(w[i].found, 0);
	EQ(entries(), 0);
	tear_down();
	return asleep;
}

static void delete_wakes_all(void)
{
	EQ(asleep_after_delete(), 0);
}

/* Deterministic: woken threads are held at WOKEN until the count is taken. */
struct parked_waiters {
	struct waiter w[WAITERS];
};

static void start_parked(struct parked_waiters *p, dax_pgoff_t index)
{
	for (int i = 0; i < WAITERS; i++) {
		p->w[i] = (struct waiter){ .index = index, .locks = true };
		step_start_asleep(&p->w[i].step, wait_body, &p->w[i], DAX_TEST_WOKEN);
	}
}

static void release_parked(struct parked_waiters *p)
{
	for (int i = 0; i < WAITERS; i++)
		step_go(&p->w[i].step, STEP_NOWHERE);
	join_waiters(p->w, WAITERS);
}

static unsigned int queued_after_delete(enum dax_test_mutation mutation)
{
	struct parked_waiters p;
	unsigned int nr;

	set_up();
	dax_test.mutation = mutation;
	EQ(grab(INNER, 0), 0);
	start_parked(&p, INNER);
	dax_delete_locked_entry(&slot);
	nr = queued(INNER);
	leave();
	release_parked(&p);
	tear_down();
	return nr;
}

static unsigned int queued_after_downgrade(enum dax_test_mutation mutation)
{
	struct parked_waiters p;
	unsigned int nr;

	set_up();
	dax_test.mutation = mutation;
	plant(BASE, 0, DAX_PMD | DAX_EMPTY);
	EQ(grab(BASE, DAX_PMD_ORDER), 0);
	start_parked(&p, INNER + 1);
	overwrite(BASE, word_at(BASE) & ~(dax_entry_t)DAX_LOCKED);
	EQ(grab_mapping_entry(&(struct dax_slot){ .mapping = fx.file, .area = fx.area,
						  .index = INNER }, 0), 0);
	nr = queued(BASE);
	overwrite(INNER, word_at(INNER) & ~(dax_entry_t)DAX_LOCKED);
	leave();
	release_parked(&p);
	tear_down();
	return nr;
}

static void nobody_stays_queued(void)
{
	EQ(queued_after_delete(DAX_MUTATE_NONE), 0);
	EQ(queued_after_downgrade(DAX_MUTATE_NONE), 0);
}

static void mutations_leave_them_queued(void)
{
	EQ(queued_after_delete(DAX_MUTATE_WAKE_ONE_ON_DELETE), WAITERS - 1);
	EQ(queued_after_downgrade(DAX_MUTATE_WAKE_ONE_ON_DOWNGRADE), WAITERS - 1);
}

/* A PMD entry has one key: whoever waits at page 700 hears of an unlock at
 * page 512, and the other way round. */
static void pmd_key(void)
{
	struct waiter w[3];

	set_up();
	plant(BASE, device_pfn(512), DAX_PMD);
	EQ(grab(INNER, 0), 0);
	start_waiters(w, 2, BASE + 300, true);
	w[2] = (struct waiter){ .index = BASE, .locks = true };
	step_start_asleep(&w[2].step, wait_body, &w[2], STEP_NOWHERE);
	EQ(queued(BASE), 3);
	EQ(queued(BASE + 300), 0);
	EQ(queued(INNER), 0);
	put();
	join_waiters(w, 3);
	EQ(word_at(BASE + 300), word(device_pfn(512), DAX_PMD));
	tear_down();
}

/* Unlocking by an inner page stores the word of the whole entry. */
static void unlock_by_inner_page(void)
{
	dax_entry_t data;

	set_up();
	data = word(device_pfn(512), DAX_PMD);
	plant(BASE, device_pfn(512), DAX_PMD);
	EQ(grab(BASE + 511, 0), 0);
	EQ(word_at(BASE), data | DAX_LOCKED);
	put();
	EQ(word_at(BASE), data);
	EQ(word_at(BASE + 511), data);
	EQ(place(BASE + 511).order, DAX_PMD_ORDER);
	tear_down();
}

/* ---- get, lock, put --------------------------------------------------------------------- */

static void get_of_nothing(void)
{
	set_up();
	enter();
	dax_slot_init(&slot, fx.file, fx.area, INNER);
	CHECK(!get_unlocked_mapping_entry(&slot));
	put_unlocked_mapping_entry(&slot);
	leave();
	EQ(entries(), 0);
	tear_down();
}

/* Between the look and the lock somebody else was there. */
static void lock_slot_that_changed(void)
{
	set_up();
	plant(INNER, 0, DAX_EMPTY);
	enter();
	dax_slot_init(&slot, fx.file, fx.area, INNER);
	EQ(dax_from_slot(get_unlocked_mapping_entry(&slot)), 0x22);
	overwrite(INNER, 0x12);
	CHECK(!lock_slot(&slot));
	EQ(word_at(INNER), 0x12);
	EQ(dax_from_slot(get_unlocked_mapping_entry(&slot)), 0x12);
	CHECK(lock_slot(&slot));
	EQ(word_at(INNER), 0x16);
	put();
	tear_down();
}

/* A put without a wake-up received wakes nobody. */
static void put_without_wake(void)
{
	struct waiter w;

	set_up();
	EQ(grab(INNER, 0), 0);
	start_waiters(&w, 1, INNER, true);
	put_unlocked_mapping_entry(&slot);
	EQ(queued(INNER), 1);
	put();
	join_waiters(&w, 1);
	tear_down();
}

/* W8: a 4 KiB entry is locked, the 2 MiB request returns at once. */
static void pmd_does_not_wait(void)
{
	struct dax_slot other;

	set_up();
	EQ(grab(BASE, 0), 0);
	dax_slot_init(&other, fx.file, fx.area, BASE);
	EQ(grab_mapping_entry(&other, DAX_PMD_ORDER), -EEXIST);
	EQ(count(DAX_STAT_ENTRY_WAIT), 0);
	put();
	tear_down();
}

/*
 * W2: two sleep for an entry; it is unlocked and gone before the first, now
 * awake, looks again; the first gets no memory for a new one.  Its wake-up
 * must reach the second.
 */
static int first_result;

static void grab_first(void *arg)
{
	struct percpu_area *area;
	struct dax_slot own;

	(void)arg;
	MUST(!mapping_lock_shared(fx.file, &area));
	dax_slot_init(&own, fx.file, area, INNER);
	first_result = grab_mapping_entry(&own, 0);
	if (!first_result)
		put_locked_mapping_entry(&own);
	mapping_unlock_shared(fx.file, area);
}

static bool never(const struct radix_tree_iter *iter, void *arg)
{
	(void)iter;
	(void)arg;
	return false;
}

/* The entry vanishes without a wake-up, as if the deleter were still on its
 * way to it; its node too, so that a new entry needs memory. */
static void vanish(void)
{
	overwrite(INNER, 0);
	percpu_inc(fx.area, DAX_STAT_ENTRY_DELETE);
	radix_tree_delete_range(&fx.file->i_pages, 0, 4 * PMD_PAGES, never, NULL);
}

static void nomem_passes_the_wake_on(void)
{
	struct waiter second = { .index = INNER, .locks = true };
	struct step first;

	set_up();
	EQ(grab(INNER, 0), 0);
	step_start_asleep(&first, grab_first, NULL, DAX_TEST_WOKEN);
	step_start_asleep(&second.step, wait_body, &second, STEP_NOWHERE);
	put_locked_mapping_entry(&slot);
	CHECK(step_parked(&first));
	vanish();
	leave();
	oom_fail_nth(1);
	step_go(&first, STEP_NOWHERE);
	step_join(&first);
	oom_clear();
	EQ(first_result, -ENOMEM);
	step_join(&second.step);	/* or the watchdog */
	EQ(second.found, 0);
	tear_down();
}

/*
 * A wake-up received for a PMD entry is passed on before the thread goes to
 * sleep for another key, and when it locks an entry of another key.
 */
static void wake_for_another_key(void)
{
	struct waiter second = { .index = INNER, .locks = true };
	struct step first;

	set_up();
	plant(BASE, 0, DAX_PMD | DAX_EMPTY);
	EQ(grab(BASE, DAX_PMD_ORDER), 0);
	step_start_asleep(&first, grab_first, NULL, DAX_TEST_WOKEN);
	step_start_asleep(&second.step, wait_body, &second, STEP_NOWHERE);
	put_locked_mapping_entry(&slot);	/* wakes the first */
	CHECK(step_parked(&first));
	vanish();
	plant(INNER, 0, DAX_EMPTY);		/* another key, unlocked */
	leave();
	step_go(&first, STEP_NOWHERE);
	step_join(&first);
	EQ(first_result, 0);
	step_join(&second.step);
	EQ(second.found, 0x22);
	tear_down();
}

/* ---- mutual exclusion ------------------------------------------------------------------- */

enum { ADDERS = 4, ADDITIONS = 20000 };

static uint64_t plain_counter;

static void *add(void *arg)
{
	struct percpu_area *area;
	struct dax_slot own;

	for (int i = 0; i < ADDITIONS; i++) {
		MUST(!mapping_lock_shared(fx.file, &area));
		dax_slot_init(&own, fx.file, area,
			      BASE + ((uintptr_t)arg * 97 + (unsigned int)i) % PMD_PAGES);
		MUST(!grab_mapping_entry(&own, 0));
		plain_counter++;
		put_locked_mapping_entry(&own);
		mapping_unlock_shared(fx.file, area);
	}
	return NULL;
}

static void check_exact_sum(bool no_spin)
{
	pthread_t threads[ADDERS];

	set_up();
	dax_test.no_spin = no_spin;
	plant(BASE, device_pfn(512), DAX_PMD);
	plain_counter = 0;
	for (uintptr_t i = 0; i < ADDERS; i++)
		MUST(!pthread_create(&threads[i], NULL, add, (void *)i));
	for (int i = 0; i < ADDERS; i++)
		pthread_join(threads[i], NULL);
	EQ(plain_counter, ADDERS * ADDITIONS);
	EQ(queued(BASE), 0);
	tear_down();
}

static void sum_spinning(void)
{
	check_exact_sum(false);
}

static void sum_sleeping(void)
{
	check_exact_sum(true);
}

int main(void)
{
	plan(40);
	run("PTE, nothing there: a locked EMPTY entry", pte_absent);
	run("PTE, nothing there, node present: the same", pte_absent_beside_another);
	run("PTE on PTE empty: locked", pte_on_empty);
	run("PTE on PTE zero: locked", pte_on_zero);
	run("PTE on PTE data: locked", pte_on_data);
	run("PTE on PMD data: the PMD entry, locked", pte_on_pmd_data);
	run("PTE on PMD zero: downgrade with unmap", pte_on_pmd_zero);
	run("PTE on PMD empty: downgrade without unmap", pte_on_pmd_empty);
	run("PTE on a page pointer: EIO", pte_on_page);
	run("PMD, nothing there: a locked EMPTY PMD entry", pmd_absent);
	run("PMD, nothing there, node present: the same", pmd_absent_beside_another);
	run("PMD with a PTE elsewhere: EEXIST", pmd_with_pte_elsewhere);
	run("PMD on PTE empty: EEXIST", pmd_on_pte_empty);
	run("PMD on PTE zero: EEXIST", pmd_on_pte_zero);
	run("PMD on PTE data: EEXIST", pmd_on_pte_data);
	run("PMD on PMD data: locked", pmd_on_pmd_data);
	run("PMD on PMD zero: locked", pmd_on_pmd_zero);
	run("PMD on PMD empty: locked", pmd_on_pmd_empty);
	run("PMD on a page pointer: refused", pmd_on_page);
	run("downgrade: leaves, then node, then waiters", downgrade_order);
	run("downgrade keeps private copies", downgrade_keeps_private_copies);
	run("downgrade without memory leaves the entry unlocked", downgrade_without_memory);
	run("PTE without memory: nothing changed", pte_without_memory);
	run("PMD without memory: nothing changed", pmd_without_memory);
	run("waiters that lock are served one after the other", waiters_that_lock);
	run("waiters that leave pass the wake-up on", waiters_that_leave);
	run("an unlock wakes one, in order of arrival", unlock_wakes_one_only);
	run("a delete wakes all", delete_wakes_all);
	run("nobody is queued after a delete or a downgrade", nobody_stays_queued);
	run("waking one there leaves them queued", mutations_leave_them_queued);
	run("all pages of a PMD entry wait under one key", pmd_key);
	run("unlock by an inner page", unlock_by_inner_page);
	run("get of nothing", get_of_nothing);
	run("lock_slot notices a change", lock_slot_that_changed);
	run("a put without a wake-up wakes nobody", put_without_wake);
	run("W8: a PMD request does not wait for a PTE", pmd_does_not_wait);
	run("W2: no memory after a wake-up passes it on", nomem_passes_the_wake_on);
	run("a wake-up for another key is passed on", wake_for_another_key);
	run("exact sum under the lock, spinning", sum_spinning);
	run("exact sum under the lock, sleeping", sum_sleeping);
	return done();
}
