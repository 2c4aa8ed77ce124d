//! Names for runs and models that were given none: `steady-heron-481`.

#[rustfmt::skip]
const ADJECTIVES: &[&str] = &[
    "able", "agile", "airy", "amber", "ample", "apt", "azure", "bold", "brave", "breezy", "brisk",
    "bright", "calm", "candid", "civil", "clear", "clever", "cosmic", "crisp", "dapper", "daring",
    "deft", "eager", "early", "earnest", "easy", "even", "fair", "fearless", "fine", "firm",
    "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden", "grand", "happy", "hardy",
    "hasty", "honest", "humble", "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky",
    "mellow", "merry", "mild", "modest", "neat", "nimble", "noble", "patient", "placid", "plucky",
    "polite", "prompt", "proud", "quick", "quiet", "rapid", "ready", "robust", "rosy", "royal",
    "serene", "sharp", "shrewd", "silent", "silver", "sleek", "smart", "smooth", "snug", "sober",
    "solid", "spry", "stable", "steady", "stern", "sturdy", "subtle", "sunny", "sure", "swift",
    "tidy", "tranquil", "trusty", "upbeat", "vivid", "warm", "wise", "witty", "young", "zesty",
];

#[rustfmt::skip]
const NOUNS: &[&str] = &[
    "ant", "auk", "badger", "bat", "bear", "bee", "bison", "boar", "bug", "calf", "carp", "cat",
    "cod", "colt", "crab", "crane", "crow", "cub", "deer", "dove", "duck", "eagle", "eel", "egret",
    "elk", "falcon", "fawn", "finch", "fish", "fly", "foal", "fox", "frog", "gecko", "gnu", "goat",
    "goose", "grouse", "gull", "hare", "hawk", "hen", "heron", "horse", "hound", "ibex", "ibis",
    "jay", "kite", "koi", "lamb", "lark", "linnet", "llama", "loon", "lynx", "mare", "marten",
    "mole", "moose", "moth", "mouse", "mule", "newt", "otter", "owl", "ox", "panda", "perch",
    "pig", "pike", "puffin", "quail", "ram", "raven", "ray", "robin", "rook", "salmon", "seal",
    "shark", "sheep", "shrew", "shrimp", "skunk", "sloth", "snail", "snipe", "sparrow", "squid",
    "stag", "stoat", "stork", "swan", "swift", "tern", "toad", "trout", "turtle", "vole", "wasp",
    "whale", "wolf", "worm", "wren", "yak", "zebra",
];

/// A name of an adjective, a noun and a number below 1000.
pub(super) fn random_name() -> String {
    let random = uuid::Uuid::new_v4().as_u128();
    // Bits 0 to 47 of a random UUID are all random.
    let pick = |shift: u32, count: usize| (random >> shift & 0xffff) as usize % count;
    format!(
        "{}-{}-{}",
        ADJECTIVES[pick(0, ADJECTIVES.len())],
        NOUNS[pick(16, NOUNS.len())],
        pick(32, 1000)
    )
}
