//! The list of mutants.

use serde::Deserialize;

/// One defect.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    /// The promise that it breaks.
    pub(crate) promise: String,
    /// The file that it changes, from the root of the repository.
    pub(crate) file: String,
    pub(crate) original: String,
    pub(crate) mutated: String,
    /// The checker that has to catch it.
    #[serde(default)]
    pub(crate) checker: Checker,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Checker {
    #[default]
    Model,
    Invariants,
}

impl Checker {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Invariants => "invariants",
        }
    }
}

#[derive(Debug, Deserialize)]
struct List {
    mutant: Vec<Mutant>,
}

/// All mutants, in the order of the file.
pub(crate) fn read() -> Vec<Mutant> {
    let list: List = toml::from_str(include_str!("../../mutants.toml")).expect("mutants.toml");
    let mut mutants = list.mutant;
    for mutant in &mut mutants {
        mutant.original = mutant.original.trim().to_owned();
        mutant.mutated = mutant.mutated.trim().to_owned();
    }
    for (index, mutant) in mutants.iter().enumerate() {
        let is_new = mutants[..index].iter().all(|other| other.name != mutant.name);
        assert!(is_new, "two mutants are called {:?}", mutant.name);
    }
    mutants
}

/// A piece of code: where it begins, what it is, and its mutants, each with its number.
type Site<'a> = (usize, &'a str, Vec<(usize, &'a Mutant)>);

/// The text of a file with its mutants in it. `mutants` are those of this file, each with its number.
///
/// # Errors
/// What is wrong with an entry of the list, and what to do.
pub(crate) fn mutate(text: &str, mutants: &[(usize, &Mutant)]) -> Result<String, String> {
    let mut sites: Vec<Site<'_>> = Vec::new();
    for &(number, mutant) in mutants {
        let at = find_once(text, mutant)?;
        match sites
            .iter_mut()
            .find(|(other, original, _)| (*other, *original) == (at, &mutant.original))
        {
            Some((_, _, here)) => here.push((number, mutant)),
            None => sites.push((at, &mutant.original, vec![(number, mutant)])),
        }
    }
    sites.sort_by_key(|(at, _, _)| *at);
    let mut result = String::new();
    let mut copied = 0;
    for (at, original, here) in sites {
        if at < copied {
            let names: Vec<&str> = here.iter().map(|(_, mutant)| mutant.name.as_str()).collect();
            return Err(format!(
                "{names:?}: another mutant changes part of the same code; give both the same `original`"
            ));
        }
        result.push_str(&text[copied..at]);
        result.push_str(&switch(original, &here));
        copied = at + original.len();
    }
    result.push_str(&text[copied..]);
    Ok(result)
}

fn find_once(text: &str, mutant: &Mutant) -> Result<usize, String> {
    let mut found = text.match_indices(&mutant.original).map(|(at, _)| at);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (None, _) => Err(format!(
            "simulation/mutants.toml, {:?}: the original is not in {}; the code has changed. Write the code that does \
             this now into `original` and the same defect in it into `mutated`. If the promise is gone, delete the entry",
            mutant.name, mutant.file
        )),
        (Some(_), Some(_)) => Err(format!(
            "simulation/mutants.toml, {:?}: the original is in {} more than once; add a neighbouring line to `original` \
             and `mutated`",
            mutant.name, mutant.file
        )),
    }
}

/// Code that does what the original does unless one of the mutants is active.
fn switch(original: &str, mutants: &[(usize, &Mutant)]) -> String {
    let mut code = String::new();
    for (number, mutant) in mutants {
        code.push_str(&format!("if mutant::is({number}) {{ {} }} else ", mutant.mutated));
    }
    code.push_str(&format!("{{ {original} }}"));
    let is_statement = original.ends_with([';', '}']);
    if is_statement { code } else { format!("({code})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(name: &str, original: &str, mutated: &str) -> Mutant {
        Mutant {
            name: name.to_owned(),
            promise: String::new(),
            file: "a.rs".to_owned(),
            original: original.to_owned(),
            mutated: mutated.to_owned(),
            checker: Checker::Model,
        }
    }

    #[test]
    fn a_mutant_is_behind_a_switch() {
        let (one, two) = (mutant("one", "a()", "b()"), mutant("two", "a()", "c()"));
        let mutated = mutate("x = a();", &[(1, &one), (2, &two)]);
        let expected = "x = (if mutant::is(1) { b() } else if mutant::is(2) { c() } else { a() });";
        assert_eq!(mutated.as_deref(), Ok(expected));
        let statement = mutant("statement", "a();", "");
        assert_eq!(
            mutate("a(); b();", &[(7, &statement)]).as_deref(),
            Ok("if mutant::is(7) {  } else { a(); } b();")
        );
    }

    #[test]
    fn an_entry_that_does_not_fit_says_what_to_do() {
        let gone = mutant("gone", "c()", "d()");
        let error = mutate("a() + a()", &[(1, &gone)]).unwrap_err();
        assert!(error.contains("the code has changed"), "{error}");
        let twice = mutant("twice", "a()", "d()");
        let error = mutate("a() + a()", &[(1, &twice)]).unwrap_err();
        assert!(error.contains("more than once"), "{error}");
        let (outer, inner) = (mutant("outer", "f(a())", "b"), mutant("inner", "a()", "b"));
        let error = mutate("f(a())", &[(1, &outer), (2, &inner)]).unwrap_err();
        assert!(error.contains("inner"), "{error}");
    }
}
