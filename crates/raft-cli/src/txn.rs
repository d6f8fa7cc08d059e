//! `txn`: compares and operations from standard input, sent as one transaction.
//!
//! Read next: `txn/grammar.rs`.

pub(crate) mod grammar;

use std::io::{self, BufRead, Write as _};

use clap::Args;
use raft_api::etcdserverpb::TxnRequest;
use raft_api::etcdserverpb::request_op::Request;
use tonic::Response;

use crate::client::{Client, Connection};
use crate::error::CliError;
use crate::output::{Format, Report};

/// Compare, then run one of two lists of operations, as one step.
#[derive(Args, Debug)]
#[command(after_help = "\
Standard input has three sections, separated by empty lines; the end of the input ends them all:

  compares     all must hold: TARGET(\"KEY\") RELATION \"VALUE\"
                 TARGET    ver|version, c|create, m|mod (decimal numbers),
                           val|value (text), lease (hexadecimal)
                 RELATION  =  !=  <  >
  on success   put KEY VALUE, get KEY, del KEY, with the options of these commands
  on failure   the same

Words are quoted as \"in Go\", with escapes such as \\n, \\\" or \\xff, or 'literally'.

Examples:
  raftctl txn <<'END'
  mod(\"colour\") > \"0\"
  value(\"colour\") = \"green\"

  put colour blue
  get size/ --prefix

  put colour green
  END

  raftctl txn -i                      asks for each section")]
pub(crate) struct TxnArgs {
    /// Say on standard error what is expected next
    #[arg(short, long)]
    interactive: bool,
}

/// Runs `txn`.
pub(crate) async fn run(
    client: &Client,
    format: Format,
    args: &TxnArgs,
    stdin: &mut dyn BufRead,
) -> Result<Report, CliError> {
    let prompt = |section: grammar::Section| {
        if args.interactive {
            // Who cannot see the question can still answer it.
            let _ = writeln!(io::stderr().lock(), "{section}:");
        }
    };
    // An empty line on a terminal is an answer; whoever types nothing more shall not wait.
    let ending = if args.interactive { grammar::Ending::Line } else { grammar::Ending::Input };
    let request = grammar::read(stdin, ending, prompt)?;
    let call = async |to: Connection| to.kv().txn(request.clone()).await.map(Response::into_inner);
    let response =
        if is_read(&request) { client.read(call).await? } else { client.write(call).await? };
    Ok(Report::of(&response, format))
}

/// A transaction that writes nothing, whatever its compares say, may be repeated.
fn is_read(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| match &op.request {
        None | Some(Request::RequestRange(_)) => true,
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => false,
        Some(Request::RequestTxn(inner)) => is_read(inner),
    })
}
