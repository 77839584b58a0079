//! Requests of players as lines of `muster/1`.

use std::fmt;

use crate::NAME_MAX;
use crate::error::LineError;
use crate::fields::{Line, encode, quote, set_once};
use crate::message::{Member, Request, ResumeKey};

/// The longest code of a party that is looked up, in bytes.
const CODE_MAX: usize = 32;

impl Request {
    /// Reads a line without its line end. `Ok(None)` is a blank line, which means nothing.
    ///
    /// # Errors
    /// [`LineError`] says what is wrong; its [`code`](LineError::code) is sent to the client.
    pub fn parse(line: &[u8]) -> Result<Option<Self>, LineError> {
        let line = Line::parse(line)?;
        let verb = line.verb.to_ascii_uppercase();
        let request = match verb.as_str() {
            "" => return Ok(None),
            // Free text: whatever follows is said back, or ignored.
            "PING" => return Ok(Some(Self::Ping(line.rest.to_owned()))),
            "HELP" => return Ok(Some(Self::Help)),
            "READY" => return parse_ready(&line).map(Some),
            "PARTY" => return parse_party(&line).map(Some),
            "LEAVE" => Self::Leave,
            "ACCEPT" => Self::Accept,
            "DECLINE" => Self::Decline,
            "STATUS" => Self::Status,
            "QUIT" => Self::Quit,
            _ => return Err(LineError::UnknownVerb(quote(line.verb))),
        };
        // Fields that a verb does not know are ignored, but they have to be fields.
        line.fields().try_for_each(|field| field.map(drop))?;
        Ok(Some(request))
    }
}

fn parse_ready(line: &Line<'_>) -> Result<Request, LineError> {
    let (word, rest) = line.first_word();
    if word.eq_ignore_ascii_case("party") {
        let mut queue = None;
        for field in rest.fields() {
            if let ("queue", value) = field? {
                set_once(&mut queue, "queue", value.into_owned())?;
            }
        }
        return Ok(Request::ReadyParty { queue });
    }
    let (mut queue, mut member, mut resume) = (None, Member::default(), None);
    for field in line.fields() {
        let (key, value) = field?;
        match key {
            "queue" => set_once(&mut queue, "queue", value.into_owned())?,
            "name" | "skill" => member.set(key, value.as_ref())?,
            "resume" => {
                let key = value.parse().map_or(ResumeKey::Malformed, ResumeKey::Key);
                set_once(&mut resume, "resume", key)?;
            }
            _ => {}
        }
    }
    let Member { name, skill } = member;
    Ok(Request::Ready { queue, name, skill, resume })
}

/// `PARTY create`, `PARTY join CODE` or `PARTY leave`, then fields.
fn parse_party(line: &Line<'_>) -> Result<Request, LineError> {
    let (word, rest) = line.first_word();
    match word.to_ascii_lowercase().as_str() {
        "create" => Member::parse(&rest).map(Request::CreateParty),
        "join" => {
            let (code, rest) = rest.first_word();
            if code.is_empty() || code.len() > CODE_MAX || code.contains('=') {
                return Err(LineError::BadValue("code", "PARTY join CODE"));
            }
            let code = code.to_ascii_uppercase();
            Member::parse(&rest).map(|member| Request::JoinParty { code, member })
        }
        "leave" => {
            rest.fields().try_for_each(|field| field.map(drop))?;
            Ok(Request::LeaveParty)
        }
        other => Err(LineError::UnknownVerb(quote(&format!("PARTY {other}")))),
    }
}

impl Member {
    fn parse(line: &Line<'_>) -> Result<Self, LineError> {
        let mut member = Self::default();
        for field in line.fields() {
            let (key, value) = field?;
            member.set(key, value.as_ref())?;
        }
        Ok(member)
    }

    /// Takes a field that says something of the player; others are ignored.
    fn set(&mut self, key: &str, value: &str) -> Result<(), LineError> {
        match key {
            "name" if value.is_empty() || value.len() > NAME_MAX => {
                Err(LineError::BadValue("name", "1 to 64 bytes"))
            }
            "name" => set_once(&mut self.name, "name", value.to_owned()),
            "skill" => {
                let skill = value.parse();
                let skill = skill.map_err(|_| LineError::BadValue("skill", "a whole number"))?;
                set_once(&mut self.skill, "skill", skill)
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, " name={}", encode(name))?;
        }
        self.skill.map_or(Ok(()), |skill| write!(f, " skill={skill}"))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadyParty { queue } => {
                f.write_str("READY party")?;
                queue.as_ref().map_or(Ok(()), |queue| write!(f, " queue={}", encode(queue)))
            }
            Self::CreateParty(member) => write!(f, "PARTY create{member}"),
            Self::JoinParty { code, member } => write!(f, "PARTY join {code}{member}"),
            Self::LeaveParty => f.write_str("PARTY leave"),
            Self::Ready { queue, name, skill, resume } => {
                f.write_str("READY")?;
                if let Some(queue) = queue {
                    write!(f, " queue={}", encode(queue))?;
                }
                let member = Member { name: name.clone(), skill: *skill };
                write!(f, "{member}")?;
                match resume {
                    Some(ResumeKey::Key(key)) => write!(f, " resume={key}"),
                    Some(ResumeKey::Malformed) => f.write_str(" resume=malformed"),
                    None => Ok(()),
                }
            }
            Self::Leave => f.write_str("LEAVE"),
            Self::Accept => f.write_str("ACCEPT"),
            Self::Decline => f.write_str("DECLINE"),
            Self::Ping(text) if text.is_empty() => f.write_str("PING"),
            Self::Ping(text) => write!(f, "PING {text}"),
            Self::Status => f.write_str("STATUS"),
            Self::Help => f.write_str("HELP"),
            Self::Quit => f.write_str("QUIT"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    fn ready(queue: Option<&str>, name: Option<&str>) -> Request {
        let (queue, name) = (queue.map(Into::into), name.map(Into::into));
        Request::Ready { queue, name, skill: None, resume: None }
    }

    fn code_of(line: &[u8]) -> Option<ErrorCode> {
        Request::parse(line).err().map(|error| error.code())
    }

    #[test]
    fn verbs_know_no_case_and_fields_no_order() {
        for line in ["READY queue=duel name=ada", "rEaDy  name=ada   queue=duel  later=1 "] {
            assert_eq!(Request::parse(line.as_bytes()), Ok(Some(ready(Some("duel"), Some("ada")))));
        }
        assert_eq!(Request::parse(b"READY"), Ok(Some(ready(None, None))));
        assert_eq!(Request::parse(b"   "), Ok(None));
    }

    #[test]
    fn parties_are_words_and_fields() {
        let ada = Member { name: Some("ada".into()), skill: Some(-7) };
        for (line, request) in [
            ("PARTY create name=ada skill=-7", Request::CreateParty(ada.clone())),
            (
                "PARTY join K7Q2 name=ada skill=-7",
                Request::JoinParty { code: "K7Q2".into(), member: ada },
            ),
            ("PARTY leave", Request::LeaveParty),
            ("READY party", Request::ReadyParty { queue: None }),
            ("READY party queue=duel", Request::ReadyParty { queue: Some("duel".into()) }),
        ] {
            assert_eq!(Request::parse(line.as_bytes()), Ok(Some(request.clone())), "{line}");
            assert_eq!(request.to_string(), line);
        }
        let lower = Request::parse(b"party JOIN k7q2").unwrap().unwrap();
        assert_eq!(lower.to_string(), "PARTY join K7Q2");
        for line in [
            "PARTY leave now",
            "PARTY join",
            "PARTY join name=ada",
            "READY party now",
            "READY skill=good",
        ] {
            assert_eq!(code_of(line.as_bytes()), Some(ErrorCode::BadLine), "{line}");
        }
        assert_eq!(code_of(b"PARTY"), Some(ErrorCode::UnknownVerb));
    }

    #[test]
    fn names_are_decoded_and_encoded_again() {
        let request = ready(None, Some("a b\n\u{1b}[31m%=é"));
        let line = request.to_string();
        assert!(!line.contains('\n') && !line.contains('\u{1b}'), "{line}");
        assert_eq!(Request::parse(line.as_bytes()), Ok(Some(request)));
    }

    #[test]
    fn bad_lines_have_their_errors() {
        for line in [
            &b"READY duel"[..],
            b"READY =duel",
            b"READY name=%2",
            b"READY name=%zz",
            b"READY name=%ff",
            b"READY name=a name=b",
            b"READY name=",
            b"LEAVE now",
            b"PING \xff",
            b"PING \0",
            b"PING a\rb",
            b"PING a\tb",
        ] {
            assert_eq!(code_of(line), Some(ErrorCode::BadLine), "{}", line.escape_ascii());
        }
        let name = format!("READY name={}", "n".repeat(NAME_MAX + 1));
        assert_eq!(code_of(name.as_bytes()), Some(ErrorCode::BadLine));
        assert_eq!(code_of(b"GET / HTTP/1.1"), Some(ErrorCode::UnknownVerb));
    }

    #[test]
    fn a_malformed_resume_key_is_a_key_that_is_unknown() {
        let Ok(Some(Request::Ready { resume, .. })) = Request::parse(b"READY resume=nonsense")
        else {
            panic!("READY was not understood");
        };
        assert_eq!(resume, Some(ResumeKey::Malformed));
    }

    #[test]
    fn an_error_repeats_a_hostile_word_cut_and_escaped() {
        let line = format!("{} x", "\u{202e}é".repeat(100));
        let text = Request::parse(line.as_bytes()).unwrap_err().to_string();
        assert!(text.chars().count() < 400, "{text}");
        assert!(!text.contains('\u{202e}'), "{text}");
    }
}
