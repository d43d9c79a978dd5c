//! The index of words against a look at each row, whatever the hub and people's hands do.

use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::fill::{Step, is_complete, step};
use super::*;
use crate::store::search::{SearchQuery, Terms};
use crate::store::sqlite::schema::{SCRIPTS, bring_up_to_date};
use crate::store::sqlite::wall::WallFormat;
use crate::wire::{Id, SpaceId};

/// A database and whoever stores in it.
struct World {
    database: Connection,
    /// The last row that the hub knows of, where it indexes words.
    last: Option<i64>,
    ids: u128,
}

impl World {
    fn new() -> World {
        let mut database = Connection::open_in_memory().expect("a database");
        bring_up_to_date(&mut database, SCRIPTS).expect("it is made");
        World { database, last: None, ids: 1_000 }
    }

    /// A hub begins, with the setting or without.
    fn begin(&mut self, searches: bool) {
        self.last = searches.then(|| begin(&mut self.database).expect("it begins"));
    }

    fn triggers(&self, on: bool) {
        let setting = DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER;
        self.database.set_db_config(setting, on).expect("it is set");
    }

    fn insert(connection: &Connection, id: u128, space: i32, content: &str) {
        let sql = "INSERT INTO chat_messages (id, content, user_id, username, space_id, timestamp) \
                   VALUES (?1, ?2, 7, 'Ana', ?3, '2026-01-02 03:04:05.678901')";
        connection.execute(sql, (Id(id).to_string(), content, space)).expect("it is stored");
    }

    /// The hub stores a batch.
    fn store(&mut self, rows: &[(i32, String)]) {
        self.triggers(false);
        let transaction = self.database.transaction().expect("it begins");
        for (space, content) in rows {
            self.ids += 10;
            World::insert(&transaction, self.ids, *space, content);
        }
        if let Some(before) = self.last {
            let last = transaction.last_insert_rowid();
            let first = last - signed(rows.len() as u64) + 1;
            add(&transaction, before, (first, last)).expect("it is indexed");
            self.last = Some(last);
        }
        transaction.commit().expect("it is committed");
        self.triggers(true);
    }

    fn by_hand(&mut self, sql: &str) {
        self.database.execute(sql, []).expect("it is done");
    }

    fn fill(&mut self, rows_max: i64) -> Step {
        step(&mut self.database, rows_max).expect("a step")
    }

    fn find(&mut self, space: i32, text: &str, limit: u32) -> Vec<String> {
        let mut query = SearchQuery {
            space: SpaceId(space),
            terms: Terms::parse(text).expect("words"),
            before: None,
            limit,
        };
        let mut ids: Vec<String> = Vec::new();
        loop {
            let found = find::search(&mut self.database, &WallFormat::new(0), &query);
            let found = found.expect("it is found");
            assert!(found.rows.len() as u64 <= limit.into());
            ids.extend(found.rows.iter().map(|row| row.id.clone()));
            if !found.has_more {
                return ids;
            }
            query.before = ids.last().and_then(|id| Id::parse(id));
        }
    }

    /// The ids of a space whose texts a function takes, newest first.
    fn scan(&self, space: i32, takes: impl Fn(&[String]) -> bool) -> Vec<String> {
        let sql = "SELECT id, content FROM chat_messages WHERE space_id = ?1 ORDER BY id DESC";
        let mut statement = self.database.prepare(sql).expect("it parses");
        let rows = statement.query_map([space], |row| row.try_into()).expect("it runs");
        let rows = rows.collect::<Result<Vec<(String, String)>>>().expect("it reads");
        rows.into_iter().filter(|(_, text)| takes(&words(text))).map(|(id, _)| id).collect()
    }

    fn is_complete(&self) -> bool {
        is_complete(&self.database).expect("it reads")
    }
}

/// The words of a text, as somebody looks for them.
fn words(text: &str) -> Vec<String> {
    let plain = text.to_lowercase().replace('á', "a").replace('é', "e").replace('ñ', "n");
    let plain = plain.replace(['\u{301}', '\u{303}'], "");
    let words = plain.split(|letter: char| !letter.is_alphanumeric()).map(str::to_owned);
    words.filter(|word| !word.is_empty()).collect()
}

const WORDS: [&str; 8] = ["Café", "cafe", "año", "ano", "Mañana", "mar", "martes", "s1"];
const SOUGHT: [&str; 8] = ["café", "ANO", "manana", "mar", "mar*", "\"cafe mar\"", "s1", "nada"];

/// Whether words are what [`SOUGHT`] asks for.
fn takes(sought: &str, words: &[String]) -> bool {
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    match sought {
        "café" => has("cafe"),
        "ANO" => has("ano"),
        "mar*" => words.iter().any(|word| word.starts_with("mar")),
        "\"cafe mar\"" => words.windows(2).any(|pair| pair == ["cafe", "mar"]),
        word => has(word),
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Begin(bool),
    Store(Vec<(i32, String)>),
    Fill(i64),
    Import(i32, String),
    Delete(i64),
    DeleteLast,
    Change(i64, String),
    Vacuum,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let text = prop::collection::vec(0..WORDS.len(), 0..4).prop_map(|chosen| {
        let chosen: Vec<&str> = chosen.into_iter().map(|n| WORDS[n]).collect();
        chosen.join(" ")
    });
    let space = prop::sample::select(vec![1, 2, -1]);
    let row = (space.clone(), text.clone());
    let deed = prop_oneof![
        2 => any::<bool>().prop_map(Deed::Begin),
        6 => prop::collection::vec(row, 1..6).prop_map(Deed::Store),
        3 => (1i64..5).prop_map(Deed::Fill),
        1 => (space, text.clone()).prop_map(|(space, text)| Deed::Import(space, text)),
        1 => (0i64..7).prop_map(Deed::Delete),
        1 => Just(Deed::DeleteLast),
        1 => (0i64..7, text).prop_map(|(rest, text)| Deed::Change(rest, text)),
        1 => Just(Deed::Vacuum),
    ];
    prop::collection::vec(deed, 1..25)
}

impl World {
    fn does(&mut self, deed: Deed) {
        match deed {
            Deed::Begin(searches) => self.begin(searches),
            Deed::Store(rows) => self.store(&rows),
            Deed::Fill(rows) if self.last.is_some() => drop(self.fill(rows)),
            Deed::Fill(_) => {}
            Deed::Import(space, text) => {
                self.ids += 10;
                // In between: by hand, ids come in any order.
                World::insert(&self.database, self.ids - 15, space, &text);
            }
            Deed::Delete(rest) => {
                self.by_hand(&format!("DELETE FROM chat_messages WHERE rowid % 7 = {rest}"));
            }
            Deed::DeleteLast => self.by_hand(
                "DELETE FROM chat_messages WHERE rowid = (SELECT max(rowid) FROM chat_messages)",
            ),
            Deed::Change(rest, text) => self.by_hand(&format!(
                "UPDATE chat_messages SET content = '{text}' WHERE rowid % 7 = {rest}"
            )),
            Deed::Vacuum => self.by_hand("VACUUM"),
        }
    }

    fn check(&mut self, is_complete: bool) {
        for space in [1, 2, -1] {
            for sought in SOUGHT {
                let there = self.scan(space, |words| takes(sought, words));
                let found = self.find(space, sought, 3);
                match is_complete {
                    true => assert_eq!(found, there, "{sought} in {space}"),
                    false => assert!(found.iter().all(|id| there.contains(id)), "{sought}"),
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_was_done_a_search_finds_what_a_look_at_each_row_finds(deeds in deeds()) {
        let mut world = World::new();
        for deed in deeds {
            world.does(deed);
            if world.last.is_some() {
                let is_complete = world.is_complete();
                world.check(is_complete);
            }
        }
        world.begin(true);
        while world.fill(3) == Step::Filled {}
        world.check(true);
    }
}

#[test]
fn of_many_matches_each_page_is_the_newest_in_whatever_order_they_were_stored() {
    let mut world = World::new();
    let rows = 6_000;
    world.triggers(false);
    for n in 0..rows {
        // A hundredth has the rare word, all of them old; every second one is of another space.
        let text = if n % 2 == 0 && n < 2_400 && n % 24 == 0 { "hola rara" } else { "hola" };
        let id = if n % 5 == 0 { (n * 7_919) % 6_007 } else { n + 10_000 };
        World::insert(&world.database, id as u128 + 1, (n % 2) + 1, text);
    }
    world.triggers(true);
    world.begin(true);
    while world.fill(500) == Step::Filled {}
    for (sought, limit) in [("hola", 100), ("hola", 1), ("rara", 7), ("hola rara", 100)] {
        let last = sought.split(' ').next_back().expect("a word").to_owned();
        let there = world.scan(1, |words| words.contains(&last));
        let there = if limit == 1 { vec![there[0].clone()] } else { there };
        let found = match limit {
            1 => first_page(&mut world, sought),
            _ => world.find(1, sought, limit),
        };
        assert_eq!(found, there, "{sought}");
    }
}

fn first_page(world: &mut World, text: &str) -> Vec<String> {
    let terms = Terms::parse(text).expect("words");
    let query = SearchQuery { space: SpaceId(1), terms, before: None, limit: 1 };
    let found = find::search(&mut world.database, &WallFormat::new(0), &query).expect("found");
    assert!(found.has_more && found.is_complete);
    found.rows.into_iter().map(|row| row.id).collect()
}

#[test]
fn an_index_of_another_version_or_that_was_given_up_is_made_anew() {
    let mut world = World::new();
    world.begin(true);
    world.store(&[(1, "hola".into()), (1, "mundo".into())]);
    assert_eq!(world.fill(10), Step::Complete);
    let transaction = world.database.transaction().expect("it begins");
    give_up(&transaction).expect("it is noted");
    transaction.commit().expect("it is committed");
    assert!(!world.is_complete());
    assert_eq!(world.fill(1), Step::Filled, "it is made anew");
    while world.fill(1) == Step::Filled {}
    assert_eq!(world.find(1, "hola", 10).len(), 1);
    world.by_hand("UPDATE hub_search_state SET version = 77");
    world.begin(true);
    assert!(!world.is_complete());
    while world.fill(1) == Step::Filled {}
    assert_eq!(world.find(1, "mundo", 10).len(), 1);
}

#[test]
fn nothing_that_is_typed_is_an_error_of_the_database() {
    let mut world = World::new();
    world.begin(true);
    world.store(&[(1, "it's 100 % \"fine\": a-b (c) AND NOT * ^x {y} col:z".into())]);
    for text in [
        "it's",
        "\"fine\"",
        "a-b",
        "(c)",
        "AND",
        "NOT x",
        "OR",
        "NEAR(a b)",
        "^x",
        "{y}",
        "col:z",
        "space:s1",
        "-a",
        "+a",
        "a\"b",
        "a\"\"b",
        "b*",
        "col*",
        "';--",
        "\\",
        "100%",
        "a AND",
        "ñ\u{301}",
    ] {
        if let Ok(terms) = Terms::parse(text) {
            let query = SearchQuery { space: SpaceId(1), terms, before: None, limit: 5 };
            let found = find::search(&mut world.database, &WallFormat::new(0), &query);
            assert!(found.is_ok(), "{text}: {found:?}");
        }
    }
    for text in ["it's", "\"a b\"", "\"fine: a-b (c)\"", "100%", "not and", "col:z", "FIN*"] {
        assert_eq!(world.find(1, text, 5).len(), 1, "{text}");
    }
}
