use std::net::{Ipv4Addr, TcpListener as Holder};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::observe::Observed;
use crate::observe::metrics::{Exposition, Reading};

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn a_port_that_is_taken_is_told_of_and_served_at_once_it_is_free() {
    crate::runtime::new().unwrap().block_on(async {
        let holder = Holder::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = holder.local_addr().unwrap();
        let observed = Arc::new(Observed::new(Moment::now()));
        let exposition = Exposition::new(&observed.metrics, Reading::default());
        let routes = Arc::new(Routes::new(observed, exposition));
        let starting = Listener { server: Server::Metrics, address, problem: Some("starting".into()) };
        let (sender, mut listeners) = watch::channel(vec![starting]);
        tokio::spawn(serve(Server::Metrics, address, routes, sender));

        listeners.changed().await.unwrap();
        let problem = listeners.borrow_and_update()[0].problem.clone();
        assert_eq!(problem.as_deref(), Some("the port is taken by another process"));
        drop(holder);
        listeners.changed().await.unwrap();
        assert_eq!(listeners.borrow_and_update()[0].problem, None);
        let answer = get(address, "/proxyMode").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nebpf"), "{answer}");
        assert!(get(address, "/nothing").await.starts_with("HTTP/1.1 404 "));
    });
}

#[test]
fn both_families_have_the_same_port_and_a_usual_one_names_its_likely_holder() {
    crate::runtime::new().unwrap().block_on(async {
        let v4 = listen((Ipv4Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = v4.local_addr().unwrap().port();
        drop(listen(format!("[::]:{port}").parse().unwrap()).unwrap());
        let taken = listen((Ipv4Addr::LOCALHOST, port).into()).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let told = explain("0.0.0.0:10256".parse().unwrap(), &taken);
        assert!(told.contains("kube-proxy"), "{told}");
    });
}
